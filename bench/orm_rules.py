"""The rules of `comparison.OrmStartView`: which counters and limits an ask meets, what is used of
them, the checks in the order of the routine, and the alerts."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Any

from django.conf import settings
from django.db.models import Case, F, Q, Sum, When

from budgets.models import (
    EACH,
    Alert,
    Budget,
    CircuitBreaker,
    CostRule,
    CostStatistic,
    Counter,
    FeatureControl,
    KillSwitch,
)
from workorders.models import ServiceToken, WorkOrder

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NANO = Decimal("0.000000001")


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
                starts_at__lte=now,
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


def more_of(measure: str, estimate: Decimal) -> Decimal:
    """What the ask adds to a limit; it tells no tokens."""
    return {"usd": estimate, "tokens": Decimal(0)}.get(measure, Decimal(1))


def default_usd(
    statistic: CostStatistic | None, rule: CostRule, caps: dict[str, Decimal]
) -> Decimal:
    """What a run reserves whose caller names no amount, as `tollgate.default_usd`."""
    if statistic and statistic.successful_runs >= rule.floor_runs and statistic.p95_usd > 0:
        return statistic.p95_usd
    share = (caps["usd_per_day"] / caps["runs_per_day"]).quantize(NANO, ROUND_DOWN)
    floor = min(share if rule.floor_usd is None else rule.floor_usd, caps["usd_per_day"])
    return max(statistic.p95_usd if statistic else NANO, floor, NANO)


def counter_of(work_order: str, window: str, held: dict[str, Counter], now: datetime) -> Counter:
    return held[Charge("work_order", work_order, window, begins(window, now)).key]


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
    now: datetime,
) -> None:
    """The checks of the routine, in its order. Raises Refused."""
    ways: dict[int, Budget] = {}
    for charge in charges:
        limit = charge.limit
        if limit is None or limit.amount is None or stage_of(limit) == 99:
            continue
        have = used[limit.scope, limit.window, limit.measure]
        more = more_of(limit.measure, estimate)
        alone = stage_of(limit) == 15 and confirm and have == 0 and estimate > limit.amount
        if (have >= limit.amount or have + more > limit.amount) and not alone:
            ways.setdefault(stage_of(limit), limit)
    running = counter_of(order.pk, "open", held, now)
    today = counter_of(order.pk, "day", held, now)
    if order.status != WorkOrder.Status.DRAFT:
        raise Refused(409, "suspended", f"work order is {order.status}", "START_REFUSED")
    if order.refuse_unknown_agents and not known:
        raise Refused(403, "unknown_agent", "unknown agent", "START_REFUSED")
    if running.open_runs >= caps["max_concurrent_runs"] or 8 in ways:
        raise Refused(429, "concurrency", "concurrency limit reached")
    if today.runs + 1 > caps["runs_per_day"]:
        raise Refused(429, "runs_per_day", "runs/day cap reached")
    spent = today.reserved_usd + today.settled_usd
    if spent >= caps["usd_per_day"] or spent + estimate > caps["usd_per_day"]:
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
        more = more_of(limit.measure, estimate)
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
