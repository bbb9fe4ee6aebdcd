"""What `start` is compared with: a view that does nothing, and the same decision in ORM queries.

The second is written as one would with Django and DRF and no stored routine: a serializer, token
authentication, one transaction, `select_for_update` with the shared rows last, the same checks in
the same order, the same rows. It runs on the same counters, so it is spared COUNT and most of SUM.
Left out, since no measured ask comes to it: models and their tiers, a feature's throttle and cost
cap, what a breaker does after its check, a token's networks, overdue leases at a full limit, two at
once with one key, a grant that ends in the middle.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import Case, F, Q, Sum, When
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets.models import (
    EACH,
    Alert,
    Budget,
    CircuitBreaker,
    CostStatistic,
    Counter,
    FeatureControl,
    Grant,
    IdempotencyRecord,
    KillSwitch,
)
from opslog.addresses import client_address
from opslog.models import OperationsEvent
from opslog.money import usd_text
from workorders.api.auth import token_text
from workorders.models import Agent, Run, ServiceToken, WorkOrder
from workorders.tokens import digest

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CAPS = ("runs_per_day", "usd_per_day", "max_concurrent_runs")


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


class Missing(Exception):
    """Some counters are not there yet, as at the turn of a minute; nothing was written."""

    def __init__(self, charges: "list[Charge]") -> None:
        super().__init__()
        self.charges = charges


class Refused(Exception):
    def __init__(self, status: int, denial: str, error: str, event: str = "RATE_LIMIT_429") -> None:
        super().__init__(error)
        self.status, self.denial, self.event = status, denial, event


@dataclass(frozen=True)
class Charge:
    """One counter of a start, and the limit that is held against it, if there is one."""

    scope: str
    subject: str
    window: str
    starts_at: datetime
    limit: Budget | None = None

    @property
    def key(self) -> str:
        return f"{self.window}:{int(self.starts_at.timestamp())}:{self.scope}:{self.subject}"


ROLLING = {"rolling_minute": timedelta(seconds=65), "rolling_hour": timedelta(minutes=61)}


def begins(window: str, now: datetime) -> datetime:
    if window == "open":
        return EPOCH
    if window == "rolling_minute":
        return now - (now - EPOCH) % timedelta(seconds=5)
    minute = now.replace(second=0, microsecond=0)
    if window in ("minute", "rolling_hour"):
        return minute
    hour = minute.replace(minute=0)
    if window == "hour":
        return hour
    day = hour.replace(hour=0)
    return day if window == "day" else day.replace(day=1)


def subjects_of(asked: dict[str, Any], token: ServiceToken, address: str) -> dict[str, str]:
    """What it is about, by scope; no model is named here, and no team."""
    return {
        "global": "",
        "work_order": asked["workOrderId"],
        "agent": asked["agentName"],
        "user": asked.get("userId", ""),
        "surface": token.surface or asked.get("surface", ""),
        "feature": token.feature or asked.get("feature", ""),
        "cost_dimension": "llm_api",
        "address": address,
    }


def charges_of(subjects: dict[str, str], now: datetime) -> list[Charge]:
    """Every limit that covers it, a row for a name before the one for each; and the four counters
    that are there always."""
    found: dict[tuple[str, str, str], Budget] = {}
    covering = Q(scope="global")
    for scope, subject in subjects.items():
        covering |= Q(scope=scope, subject__in=(subject, EACH))
    for limit in Budget.objects.filter(covering):
        named = subjects[limit.scope]
        if limit.subject == named or (limit.subject == EACH and named):
            place = (limit.scope, limit.window, limit.measure)
            if place not in found or limit.subject != EACH:
                found[place] = limit
    charges = [
        Charge(limit.scope, subjects[limit.scope], limit.window, begins(limit.window, now), limit)
        for limit in found.values()
    ]
    return charges + [
        Charge(scope, subjects[scope], window, begins(window, now))
        for scope in ("work_order", "global")
        for window in ("open", "day")
    ]


def make_counters(charges: list[Charge]) -> None:
    """Outside of the transaction that found them missing: made and committed, they can be locked in
    one order by everybody."""
    wanted = {charge.key: charge for charge in charges}
    Counter.objects.bulk_create(
        [
            Counter(
                key=key, scope=c.scope, subject=c.subject, window=c.window, starts_at=c.starts_at
            )
            for key, c in sorted(wanted.items())
        ],
        ignore_conflicts=True,
    )


def lock_all(work_order: str) -> dict[str, Counter]:
    """The open counters of the work order and of all, everybody's last: they stand for all."""
    places = (("work_order", work_order), ("global", ""))
    keys = [Charge(scope, subject, "open", EPOCH).key for scope, subject in places]
    last = Case(When(scope="global", then=1), default=0)
    locked = Counter.objects.select_for_update().filter(key__in=keys)
    return {counter.key: counter for counter in locked.order_by(last, "id")}


def read_counters(charges: list[Charge], locked: dict[str, Counter]) -> dict[str, Counter]:
    """All that it is charged to, by key. Raises Missing."""
    wanted = {charge.key for charge in charges}
    others = Counter.objects.filter(key__in=wanted - locked.keys())
    held = locked | {counter.key: counter for counter in others}
    if len(held) < len(wanted):
        raise Missing(charges)
    return held


def used_of(
    charges: list[Charge], held: dict[str, Counter], now: datetime
) -> dict[tuple[str, str, str], Decimal]:
    """What is used of each limit, by scope, window and measure."""
    rolling: dict[tuple[str, str], Any] = {}
    slots = Q()
    for charge in charges:
        if charge.limit and charge.window in ROLLING:
            slots |= Q(
                scope=charge.scope,
                subject=charge.subject,
                window=charge.window,
                starts_at__gt=now - ROLLING[charge.window],
            )
    if slots:
        sums = Counter.objects.filter(slots).values("scope", "window")
        for row in sums.annotate(
            usd=Sum(F("reserved_usd") + F("settled_usd")),
            tokens=Sum(F("reserved_tokens") + F("settled_tokens")),
            requests=Sum("runs"),
        ):
            rolling[row["scope"], row["window"]] = row
    used = {}
    for charge in charges:
        if charge.limit is None:
            continue
        measure = charge.limit.measure
        if charge.window in ROLLING:
            used[charge.scope, charge.window, measure] = Decimal(
                rolling.get((charge.scope, charge.window), {}).get(measure) or 0
            )
        else:
            counter = held[charge.key]
            amounts: dict[str, Decimal | int] = {
                "usd": counter.reserved_usd + counter.settled_usd,
                "tokens": counter.reserved_tokens + counter.settled_tokens,
                "requests": counter.runs,
                "runs": counter.open_runs,
            }
            used[charge.scope, charge.window, measure] = Decimal(amounts[measure])
    return used


BREAKERS = ("global", "rolling_minute", "usd")


def stage_of(limit: Budget) -> int:
    """The place of its check in the order of the routine; 99: it only raises alerts."""
    if limit.scope == "work_order":
        return 99
    if limit.window == "open":
        return 8
    if limit.scope in ("user", "address"):
        return 11
    return 15 if (limit.scope, limit.window, limit.measure) == BREAKERS else 12


def check_switches(subjects: dict[str, str], token: ServiceToken) -> None:
    """Kill switches, breakers, and the control of the feature. Raises Refused."""
    identities = {
        f"user:{subjects['user']}",
        f"agent:{subjects['agent']}",
        f"token:{token.prefix}",
    }
    for switch in KillSwitch.objects.filter(enabled=True):
        if (
            switch.scope == KillSwitch.Scope.GLOBAL
            or (switch.scope == KillSwitch.Scope.SURFACE and switch.target == subjects["surface"])
            or (switch.scope == KillSwitch.Scope.IDENTITY and switch.target in identities)
        ):
            raise Refused(403, "kill_switch", "stopped by a kill switch", "START_REFUSED")
    for breaker in CircuitBreaker.objects.exclude(state=CircuitBreaker.State.CLOSED):
        if breaker.scope == "global" or breaker.subject == subjects["work_order"]:
            raise Refused(503, "breaker_open", "the circuit breaker is open", "START_REFUSED")
    if subjects["feature"]:
        control = FeatureControl.objects.filter(feature=subjects["feature"]).first()
        if control is not None and not control.enabled:
            raise Refused(403, "feature_off", "the feature is switched off", "START_REFUSED")


def check(
    order: WorkOrder,
    caps: dict[str, Decimal],
    charges: list[Charge],
    held: dict[str, Counter],
    used: dict[tuple[str, str, str], Decimal],
    known: bool,
    estimate: Decimal,
    confirm: bool,
) -> None:
    """The checks of the routine, in its order. Raises Refused."""
    ways: dict[int, Budget] = {}
    for charge in charges:
        limit = charge.limit
        if limit is None or limit.amount is None or stage_of(limit) == 99:
            continue
        have = used[limit.scope, limit.window, limit.measure]
        more = {"usd": estimate, "tokens": Decimal(0)}.get(limit.measure, Decimal(1))
        alone = stage_of(limit) == 15 and confirm and have == 0 and estimate > limit.amount
        if (have >= limit.amount or have + more > limit.amount) and not alone:
            ways.setdefault(stage_of(limit), limit)
    running = held[Charge("work_order", order.pk, "open", EPOCH).key]
    today = next(held[c.key] for c in charges if (c.scope, c.window) == ("work_order", "day"))
    if order.status != WorkOrder.Status.DRAFT:
        raise Refused(409, "suspended", f"work order is {order.status}", "START_REFUSED")
    if order.refuse_unknown_agents and not known:
        raise Refused(403, "unknown_agent", "unknown agent", "START_REFUSED")
    if running.open_runs >= caps["max_concurrent_runs"] or 8 in ways:
        raise Refused(429, "concurrency", "concurrency limit reached")
    if today.runs + 1 > caps["runs_per_day"]:
        raise Refused(429, "runs_per_day", "runs/day cap reached")
    if today.reserved_usd + today.settled_usd + estimate > caps["usd_per_day"]:
        raise Refused(429, "usd_per_day", "budget cap reached")
    if 11 in ways:
        denial = "user_quota" if ways[11].scope == "user" else "address_rate"
        raise Refused(429, denial, "quota reached")
    if 12 in ways:
        raise Refused(429, f"budget:{ways[12].scope}:{ways[12].window}", "global budget reached")
    if estimate > Decimal(settings.TOLLGATE_CONFIRM_OVER_USD) and not confirm:
        raise Refused(428, "confirm", "send confirm", "START_REFUSED")
    if 15 in ways:
        raise Refused(503, "breaker_open", "the circuit breaker is open", "START_REFUSED")


def raise_alerts(
    charges: list[Charge],
    used: dict[tuple[str, str, str], Decimal],
    caps: dict[str, Decimal],
    estimate: Decimal,
) -> None:
    """One alert for each threshold that this start passes."""
    for charge in charges:
        limit = charge.limit
        if limit is None:
            continue
        have = used[limit.scope, limit.window, limit.measure]
        more = {"usd": estimate, "tokens": Decimal(0)}.get(limit.measure, Decimal(1))
        amount = limit.amount
        if limit.scope == "work_order":
            amount = caps["usd_per_day" if limit.measure == "usd" else "runs_per_day"]
        thresholds = [limit.warning_amount] if limit.warning_amount is not None else []
        if amount is not None:
            thresholds += [amount * percent / 100 for percent in limit.alert_percents]
        for threshold in thresholds:
            if have < threshold <= have + more:
                Alert.objects.get_or_create(
                    key=f"budget:{limit.pk}:{charge.subject}:{charge.starts_at}:{threshold}",
                    defaults={
                        "kind": Alert.Kind.BUDGET_THRESHOLD,
                        "message": f"{limit} is used up to {threshold}",
                        "owner_type": "budget",
                        "owner_id": str(limit.pk),
                    },
                )


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
            estimate = (
                statistic.p95_usd if statistic else caps["usd_per_day"] / caps["runs_per_day"]
            )
        if statistic and settings.TOLLGATE_LIFT_ESTIMATES and statistic.settled_runs >= 20:
            estimate = max(estimate, statistic.median_usd)
        check_switches(subjects, token)
        check(order, caps, charges, held, used, known, estimate, asked["confirm"])
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
        today = next(held[c.key] for c in charges if (c.scope, c.window) == ("work_order", "day"))
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
                "openRuns": held[Charge("work_order", name, "open", EPOCH).key].open_runs + 1,
            },
        }
        if told:
            IdempotencyRecord.objects.create(
                token_id=token.pk, endpoint="start", key=told, fingerprint=print_, answer=answer
            )
        return Response(answer, status=201)
