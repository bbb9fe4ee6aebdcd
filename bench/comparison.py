"""What `start` is compared with: a view that does nothing, and the same decision in ORM queries.

The second is written as one would with Django and DRF and no stored routine: a serializer, token
authentication, one transaction, `select_for_update` with the shared rows last, the same checks in
the same order, the same rows. It runs on the same counters, so it is spared COUNT and most of SUM.
Left out, since no measured ask comes to it: models and their tiers, a feature's throttle and cost
cap, what a breaker does after its check, a token's networks, overdue leases at a full limit, two at
once with one key, a grant that ends in the middle. Its rules are in `orm_rules.py`.
"""

from datetime import timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bench.orm_rules import (
    Missing,
    Refused,
    charges_of,
    check,
    check_switches,
    counter_of,
    default_usd,
    lock_all,
    make_counters,
    raise_alerts,
    read_counters,
    subjects_of,
    used_of,
)
from budgets.models import CostRule, CostStatistic, Counter, Grant, IdempotencyRecord
from opslog.addresses import client_address
from opslog.models import OperationsEvent
from opslog.money import usd_text
from workorders.api.auth import token_text
from workorders.models import Agent, Run, ServiceToken, WorkOrder
from workorders.tokens import digest

CAPS = ("runs_per_day", "usd_per_day", "max_concurrent_runs")


class EmptyView(APIView):
    """The ceiling: what this server, these middlewares and DRF can do at all."""

    decides = True  # answered where a start is
    schema = None
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


class OrmStartView(APIView):
    decides = True
    schema = None
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
        subjects = subjects_of(asked, token, client_address(request._request))
        try:
            while True:
                try:
                    with transaction.atomic():
                        return self.admit(request, token, asked, subjects)
                except Missing as missing:
                    make_counters(missing.charges)
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

    def admit(
        self, request: Request, token: ServiceToken, asked: dict[str, Any], subjects: dict[str, str]
    ) -> Response:
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
        name = asked["workOrderId"]
        locked = lock_all(name)
        now = timezone.now()
        charges = charges_of(subjects, now)
        held = read_counters(charges, locked)
        used = used_of(charges, held, now)
        order = get_object_or_404(WorkOrder, pk=name)
        caps = {cap: Decimal(getattr(order, cap)) for cap in CAPS}
        for grant in Grant.objects.filter(wo=order, starts_at__lte=now, ends_at__gt=now):
            caps[grant.measure] = max(caps[grant.measure], grant.value)
        known = Agent.objects.filter(name=asked["agentName"], is_active=True).exists()
        statistic = CostStatistic.objects.filter(pk=name).first()
        estimate = asked.get("estimatedCostUsd")
        if estimate is None:
            estimate = default_usd(statistic, CostRule.objects.get(), caps)
        if statistic and settings.TOLLGATE_LIFT_ESTIMATES and statistic.settled_runs >= 20:
            estimate = max(estimate, statistic.median_usd)
        check_switches(subjects, token)
        check(order, caps, charges, held, used, known, estimate, asked["confirm"], now)
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
            surface=subjects["surface"],
            feature=subjects["feature"],
            source_ip=subjects["address"],
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
                "sourceIp": subjects["address"],
                "estimatedUsd": usd_text(estimate),
                "askKey": told or None,
                "tokenName": token.name,
            },
            request_id=request._request.request_id,  # type: ignore[attr-defined]
        )
        raise_alerts(charges, used, caps, estimate)
        today = counter_of(name, "day", held, now)
        answer = {
            "runId": str(run.pk),
            "workOrderId": name,
            "status": run.status,
            "reservedUsd": usd_text(estimate),
            "leaseExpiresAt": run.lease_expires_at.isoformat(),
            "caps": {
                "runsPerDay": int(caps["runs_per_day"]),
                "usdPerDay": float(caps["usd_per_day"]),
            },
            "usage": {
                "runsToday": today.runs + 1,
                "usdToday": usd_text(today.reserved_usd + today.settled_usd + estimate),
                "openRuns": counter_of(name, "open", held, now).open_runs + 1,
            },
        }
        if told:
            IdempotencyRecord.objects.create(
                token_id=token.pk, endpoint="start", key=told, fingerprint=print_, answer=answer
            )
        return Response(answer, status=201)
