"""What `start` is compared with: a view that does nothing, and the same decision in ORM queries.

The second is written as one would with Django and DRF and no stored routine: a serializer, token
authentication, one transaction, `select_for_update` with the shared rows last, the same checks in
the same order, the same rows. It runs on the same counters, so it is spared COUNT and SUM.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import Case, F, When
from django.http import HttpResponse
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets.models import Budget, CostStatistic, Counter, IdempotencyRecord
from opslog.addresses import client_address
from opslog.models import OperationsEvent
from opslog.money import usd_text
from workorders.api.auth import token_text
from workorders.models import Agent, Run, ServiceToken, WorkOrder
from workorders.tokens import digest

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EmptyView(APIView):
    """The ceiling: what this server, these middlewares and DRF can do at all."""

    authentication_classes = ()
    permission_classes = ()

    def post(self, request: Request) -> HttpResponse:
        return HttpResponse(b"{}", content_type="application/json")


class StartSerializer(serializers.Serializer[Any]):
    workOrderId = serializers.CharField(max_length=100)
    agentName = serializers.CharField(max_length=200)
    estimatedCostUsd = serializers.DecimalField(
        max_digits=18, decimal_places=9, min_value=0, required=False
    )
    leaseSeconds = serializers.IntegerField(min_value=1, max_value=86_400, required=False)
    userId = serializers.CharField(max_length=200, required=False)
    surface = serializers.CharField(max_length=100, required=False)
    feature = serializers.CharField(max_length=100, required=False)
    confirm = serializers.BooleanField(default=False)


class NewMinute(Exception):
    """Between making the counters and locking them the clock went on; nothing was written."""


class Refused(Exception):
    def __init__(self, status: int, denial: str, error: str, event: str = "RATE_LIMIT_429") -> None:
        super().__init__(error)
        self.status, self.denial, self.event = status, denial, event


def charges(work_order: str, address: str, now: datetime) -> list[tuple[str, str, str, datetime]]:
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return [
        ("work_order", work_order, "open", EPOCH),
        ("work_order", work_order, "day", day),
        ("address", address, "minute", now.replace(second=0, microsecond=0)),
        ("global", "", "open", EPOCH),
        ("global", "", "day", day),
    ]


def key(charge: tuple[str, str, str, datetime]) -> str:
    scope, subject, window, starts_at = charge
    return f"{window}:{int(starts_at.timestamp())}:{scope}:{subject}"


def make_counters(work_order: str, address: str, now: datetime) -> None:
    """Before the transaction, and only where some are missing: made and committed, they can be
    locked in one order by everybody."""
    wanted = charges(work_order, address, now)
    if Counter.objects.filter(key__in=[key(c) for c in wanted]).count() < len(wanted):
        Counter.objects.bulk_create(
            [
                Counter(key=key(c), scope=c[0], subject=c[1], window=c[2], starts_at=c[3])
                for c in wanted
            ],
            ignore_conflicts=True,
        )


def lock_counters(
    work_order: str, address: str, now: datetime
) -> dict[tuple[str, str], Counter] | None:
    """By scope and window. The open ones are locked, everybody's last, and stand for the others;
    None where one is missing."""
    wanted = [key(c) for c in charges(work_order, address, now)]
    last = Case(When(scope="global", then=1), default=0)
    locked = Counter.objects.select_for_update().filter(key__in=wanted, window="open")
    found = [*locked.order_by(last, "id")]
    found += Counter.objects.filter(key__in=wanted).exclude(window="open")
    if len(found) < len(wanted):
        return None
    return {(counter.scope, counter.window): counter for counter in found}


def check(
    order: WorkOrder,
    held: dict[tuple[str, str], Counter],
    known: bool,
    estimate: Decimal,
    confirm: bool,
) -> None:
    """The checks of the routine, in its order. Raises Refused."""
    limits = {(limit.scope, limit.window): limit.amount for limit in Budget.objects.all()}
    running, everything = held["work_order", "open"], held["global", "open"]
    today, all_today = held["work_order", "day"], held["global", "day"]
    if order.status != WorkOrder.Status.DRAFT:
        raise Refused(409, "suspended", f"work order is {order.status}", "START_REFUSED")
    if order.refuse_unknown_agents and not known:
        raise Refused(403, "unknown_agent", "unknown agent", "START_REFUSED")
    most = limits["global", "open"]
    if running.open_runs >= order.max_concurrent_runs or (
        most is not None and everything.open_runs >= most
    ):
        raise Refused(429, "concurrency", "concurrency limit reached")
    if today.runs + 1 > order.runs_per_day:
        raise Refused(429, "runs_per_day", "runs/day cap reached")
    if today.reserved_usd + today.settled_usd + estimate > order.usd_per_day:
        raise Refused(429, "usd_per_day", "budget cap reached")
    most = limits["address", "minute"]
    if most is not None and held["address", "minute"].runs + 1 > most:
        raise Refused(429, "address_rate", "quota reached")
    most = limits["global", "day"]
    if most is not None and all_today.reserved_usd + all_today.settled_usd + estimate > most:
        raise Refused(429, "budget:global:day", "global budget reached")
    if estimate > Decimal(settings.TOLLGATE_CONFIRM_OVER_USD) and not confirm:
        raise Refused(428, "confirm", "send confirm", "START_REFUSED")


class OrmStartView(APIView):
    authentication_classes = ()
    permission_classes = ()

    def post(self, request: Request) -> Response:
        serializer = StartSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked = serializer.validated_data
        token = (
            ServiceToken.objects.select_related("owner")
            .filter(digest=digest(token_text(request)))
            .first()
        )
        now = timezone.now()
        if (
            token is None
            or token.revoked_at is not None
            or (token.expires_at is not None and token.expires_at <= now)
            or not token.owner.is_active
        ):
            return Response({"error": "the token is missing or unknown"}, status=401)
        if "start" not in token.scopes or (
            token.work_orders and asked["workOrderId"] not in token.work_orders
        ):
            return Response({"error": "this token lacks the scope for this"}, status=403)
        try:
            while True:
                make_counters(asked["workOrderId"], client_address(request._request), now)
                with suppress(NewMinute), transaction.atomic():
                    return self.admit(request, token, asked)
                now = timezone.now()
        except Refused as refusal:
            with transaction.atomic():
                OperationsEvent.objects.create(
                    kind=refusal.event,
                    message=str(refusal),
                    owner_type="work_order",
                    owner_id=asked["workOrderId"],
                    actor=token.owner.username,
                    meta={"woId": asked["workOrderId"], "reason": refusal.denial},
                )
            answer = Response({"error": str(refusal)}, status=refusal.status)
            answer.headers["Tollgate-Denial"] = refusal.denial
            return answer

    def admit(self, request: Request, token: ServiceToken, asked: dict[str, Any]) -> Response:
        told = request.headers.get("Idempotency-Key", "")
        print_ = sha256(repr(sorted(asked.items())).encode()).digest()
        if told:
            stored = IdempotencyRecord.objects.filter(
                token_id=token.pk, endpoint="start", key=told
            ).first()
            if stored is not None:
                if bytes(stored.fingerprint) != print_:
                    return Response({"error": "this key was used before"}, status=422)
                return Response(stored.answer, status=201, headers={"Idempotent-Replayed": "true"})
        name, address = asked["workOrderId"], client_address(request._request)
        now = timezone.now()
        held = lock_counters(name, address, now)
        if held is None:
            raise NewMinute
        order = WorkOrder.objects.get(pk=name)
        known = Agent.objects.filter(name=asked["agentName"], is_active=True).exists()
        statistic = CostStatistic.objects.filter(pk=name).first()
        estimate = asked.get("estimatedCostUsd")
        if estimate is None:
            estimate = statistic.p95_usd if statistic else order.usd_per_day / order.runs_per_day
        if statistic and settings.TOLLGATE_LIFT_ESTIMATES and statistic.settled_runs >= 20:
            estimate = max(estimate, statistic.median_usd)
        check(order, held, known, estimate, asked["confirm"])
        lease = asked.get("leaseSeconds") or settings.TOLLGATE_LEASE_SECONDS
        ids = [counter.pk for counter in held.values()]
        Counter.objects.filter(pk__in=ids).update(
            runs=F("runs") + 1,
            open_runs=F("open_runs") + 1,
            reserved_usd=F("reserved_usd") + estimate,
        )
        run = Run.objects.create(
            id=uuid4(),
            wo_id=name,
            agent_name=asked["agentName"],
            agent_known=known,
            reserved_usd=estimate,
            day=now.date(),
            started_at=now,
            lease_expires_at=now + timedelta(seconds=lease),
            lease_seconds=lease,
            user_id=asked.get("userId", ""),
            surface=token.surface or asked.get("surface", ""),
            feature=token.feature or asked.get("feature", ""),
            source_ip=address,
            idempotency_key=told,
            token_id=token.pk,
            charged_to=ids,
        )
        OperationsEvent.objects.create(
            kind="WORK_ORDER_START",
            message=f"{run.agent_name} started",
            owner_type="work_order",
            owner_id=name,
            owner_label=order.title,
            actor=token.owner.username,
            meta={
                "woId": name,
                "woTitle": order.title,
                "agentName": run.agent_name,
                "agentKnown": known,
                "runId": str(run.pk),
                "sourceIp": address,
                "estimatedUsd": usd_text(estimate),
                "askKey": told or None,
                "tokenName": token.name,
            },
            request_id=request._request.request_id,  # type: ignore[attr-defined]
        )
        today = held["work_order", "day"]
        answer = {
            "runId": str(run.pk),
            "workOrderId": name,
            "status": run.status,
            "reservedUsd": usd_text(estimate),
            "leaseExpiresAt": run.lease_expires_at.isoformat(),
            "caps": {"runsPerDay": order.runs_per_day, "usdPerDay": float(order.usd_per_day)},
            "usage": {
                "runsToday": today.runs + 1,
                "usdToday": usd_text(today.reserved_usd + today.settled_usd + estimate),
                "openRuns": held["work_order", "open"].open_runs + 1,
            },
        }
        if told:
            IdempotencyRecord.objects.create(
                token_id=token.pk, endpoint="start", key=told, fingerprint=print_, answer=answer
            )
        return Response(answer, status=201)
