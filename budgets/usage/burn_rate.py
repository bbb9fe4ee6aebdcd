"""How fast money goes out, and when each limit is reached at that pace. Reads counters only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import connection

from budgets.controls import limits
from budgets.models import Budget

ZERO = Decimal(0)
MINUTES = 60
HOUR = timedelta(hours=1)
REACH = timedelta(minutes=61)  # how long a slot of the rolling hour counts: `tollgate.reach`

FIGURES = """
WITH c AS (SELECT tollgate.now() AS now)
SELECT c.now,
    coalesce((SELECT sum(reserved_usd + settled_usd) FROM counters WHERE scope = 'global'
        AND subject = '' AND "window" = 'rolling_minute'
        AND starts_at BETWEEN tollgate.counts_from('rolling_minute', c.now) AND c.now), 0),
    coalesce((SELECT sum(reserved_usd + settled_usd) FROM counters WHERE scope = 'global'
        AND subject = '' AND "window" = 'rolling_hour'
        AND starts_at BETWEEN tollgate.counts_from('rolling_hour', c.now) AND c.now), 0),
    coalesce((SELECT reserved_usd + settled_usd FROM counters WHERE key
        = tollgate.counter_key('global', '', 'day', tollgate.begins('day', c.now))), 0),
    coalesce((SELECT sum(reserved_usd + settled_usd) FROM counters WHERE scope = 'global'
        AND subject = '' AND "window" = 'day'
        AND starts_at BETWEEN tollgate.begins('month', c.now) AND c.now), 0)
FROM c
"""
BY_MINUTE = """
SELECT starts_at, reserved_usd + settled_usd FROM counters WHERE scope = 'global' AND subject = ''
    AND "window" = 'rolling_hour'
    AND starts_at BETWEEN tollgate.counts_from('rolling_hour', %s) AND %s
ORDER BY starts_at
"""
# What each subject of a limit has committed in the last minute, and what it uses of the limit. No
# counter has the pace of a user or a feature, so the rows of that minute are read.
PACES = """
WITH c AS MATERIALIZED (
    SELECT %(now)s::timestamptz AS now,
        tollgate.begins('rolling_minute', %(now)s::timestamptz - interval '1 minute') AS since
), spent AS MATERIALIZED (
    SELECT tollgate.run_facts(r) AS facts, coalesce(r.cost, r.reserved_usd) - coalesce((
        SELECT sum(coalesce(x.settled_usd, x.reserved_usd)) FROM run_charges x
        WHERE x.run_id = r.id), 0) AS usd
    FROM c JOIN work_order_runs r ON r.started_at BETWEEN c.since AND c.now
    UNION ALL
    SELECT tollgate.run_facts(r), coalesce(x.settled_usd, x.reserved_usd)
    FROM c JOIN run_charges x ON x.at BETWEEN c.since AND c.now
        JOIN work_order_runs r ON r.id = x.run_id
    UNION ALL
    SELECT tollgate.facts_of('', d.agent_name, d.user_id, d.surface, d.feature, d.model, '', '',
        'llm_api', host(d.source_ip), NULL, NULL), d.cost_usd
    FROM c JOIN direct_spend d ON d.at BETWEEN c.since AND c.now
), active AS (
    SELECT b.id, tollgate.subject(b.scope, s.facts) AS subject, sum(s.usd) AS pace
    FROM spent s JOIN budgets b ON b.scope || ':' || b.subject = ANY ((s.facts).covers)
    WHERE b.measure = 'usd' AND b.amount IS NOT NULL AND b.scope <> 'global'
        AND NOT (b.subject = '*' AND EXISTS (
            SELECT FROM budgets own WHERE own.scope = b.scope AND own."window" = b."window"
                AND own.measure = b.measure AND own.subject = tollgate.subject(b.scope, s.facts)))
    GROUP BY 1, 2
)
SELECT a.id, a.subject, a.pace, coalesce(sum(k.settled_usd), 0), coalesce(sum(k.reserved_usd), 0),
    coalesce(array_agg(k.starts_at) FILTER (WHERE k.id IS NOT NULL), '{}'),
    coalesce(array_agg(k.settled_usd + k.reserved_usd) FILTER (WHERE k.id IS NOT NULL), '{}')
FROM active a JOIN budgets b ON b.id = a.id CROSS JOIN c
LEFT JOIN counters k ON k.scope = b.scope AND k.subject = a.subject AND k."window" = b."window"
    AND k.starts_at BETWEEN tollgate.counts_from(b."window", c.now) AND c.now
WHERE a.subject IS NOT NULL GROUP BY a.id, a.subject, a.pace
"""


@dataclass(frozen=True, slots=True)
class Reach:
    """A limit in dollars: what is used of it, and in how many seconds it is reached at this pace;
    None: not before its window ends, and of a rolling one, never. For a limit of each subject: of
    the one that reaches it first, else of the one that uses most."""

    budget: Budget
    subject: str
    settled_usd: Decimal
    held_usd: Decimal
    seconds: int | None

    @property
    def used_usd(self) -> Decimal:
        return self.settled_usd + self.held_usd


@dataclass(frozen=True, slots=True)
class BurnRate:
    """Committed US dollars: settled, and reserved by what runs."""

    at: datetime
    minute_usd: Decimal  # in the last 60 to 65 seconds, as the circuit breaker counts
    hour_usd: Decimal  # in the last 60 to 61 minutes, as limits of a rolling hour count
    day_usd: Decimal  # since midnight UTC
    month_usd: Decimal  # since the first of the month, UTC
    day_projected_usd: Decimal
    month_projected_usd: Decimal
    limits: list[Reach]
    by_minute: list[tuple[datetime, Decimal]]  # the last 60 minutes, oldest first, none left out


def projected(used: Decimal, elapsed: timedelta, whole: timedelta) -> Decimal:
    """What will be used at the end of a window at the pace of its time so far."""
    if elapsed <= timedelta(0) or elapsed >= whole:
        return used
    share = Decimal(whole.total_seconds()) / Decimal(elapsed.total_seconds())
    return (used * share).quantize(Decimal("0.01"))


def at_this_pace(used: Decimal, per_minute: Decimal, left: timedelta) -> Decimal:
    """What will be used after `left` more, at so many dollars a minute."""
    minutes = Decimal(max(left.total_seconds(), 0)) / 60
    return (used + per_minute * minutes).quantize(Decimal("0.01"))


def seconds_until(
    used: Decimal, amount: Decimal, per_minute: Decimal, left: timedelta | None
) -> int | None:
    """Seconds until `used` is `amount` at this pace; 0 when it is; None: not within `left`."""
    if used >= amount:
        return 0
    if per_minute <= 0:
        return None
    seconds = int((amount - used) / per_minute * 60)
    return None if left is not None and seconds > left.total_seconds() else seconds


def seconds_until_rolling(
    slots: Iterable[tuple[datetime, Decimal]], amount: Decimal, per_minute: Decimal, at: datetime
) -> int | None:
    """The same for the rolling hour, whose slots of a minute leave it as time goes by. None: never,
    since after an hour it holds what the pace itself puts into it. Pure."""
    leaving = sorted(slots)
    held = sum((usd for _, usd in leaving), ZERO)
    if held >= amount:
        return 0
    if per_minute <= 0:
        return None
    passed = ZERO  # seconds
    end = Decimal(HOUR.total_seconds())
    for begins, usd in [*leaving, (at, ZERO)]:
        leaves = min(Decimal((begins + REACH - at).total_seconds()), end)
        if held + per_minute * (leaves - passed) / 60 >= amount:
            return int(passed + (amount - held) / per_minute * 60)
        held += per_minute * (leaves - passed) / 60 - usd
        passed = leaves
    return None


def seconds_of(
    budget: Budget,
    use: limits.Use,
    pace: Decimal,
    slots: Mapping[datetime, Decimal],
    at: datetime,
) -> int | None:
    """In how many seconds a limit is reached by one who has used so much and goes on at `pace`, in
    dollars a minute. `slots`: what the minutes of a rolling hour hold."""
    amount = budget.amount or ZERO
    if budget.window == Budget.Window.ROLLING_MINUTE:
        # What it holds is the pace itself: it is reached, or stays where it is.
        return 0 if use.used >= amount else None
    if budget.window == Budget.Window.ROLLING_HOUR and pace > 0:
        return seconds_until_rolling(slots.items(), amount, pace, at)
    ends = window_ends(budget.window, at)
    return seconds_until(use.used, amount, pace, None if ends is None else ends - at)


def _or_never(seconds: int | None) -> float:
    return float("inf") if seconds is None else seconds


def window_ends(window: str, at: datetime) -> datetime | None:
    """The end of the fixed window that `at` (UTC) lies in; None for a rolling one."""
    match window:
        case "minute":
            return at.replace(second=0, microsecond=0) + timedelta(minutes=1)
        case "hour":
            return at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        case "day":
            return at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        case "month":
            first = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            return (first + timedelta(days=32)).replace(day=1)
    return None


def now() -> BurnRate:
    """In six queries, whatever has happened."""
    with connection.cursor() as cursor:
        cursor.execute(FIGURES)
        at, minute, hour, day, month = cursor.fetchone()
        cursor.execute(BY_MINUTE, [at, at])
        seen = dict(cursor.fetchall())
        cursor.execute(PACES, {"now": at})
        paces: dict[int, list[tuple[str, Decimal, limits.Use, dict[datetime, Decimal]]]] = {}
        for budget_id, subject, pace, settled, held, slots, usd in cursor:
            use = limits.Use(subject.replace("\x1f", " / "), settled, held)
            paces.setdefault(budget_id, []).append(
                (subject, pace, use, dict(zip(slots, usd, strict=True)))
            )
    budgets = list(Budget.objects.filter(measure=Budget.Measure.USD).exclude(amount=None))
    most = limits.use_of([budget.pk for budget in budgets])
    reaches = []
    for budget in budgets:
        if budget.scope == Budget.Scope.GLOBAL:
            found = [(most[budget.pk], seconds_of(budget, most[budget.pk], minute, seen, at))]
        else:
            found = [
                (use, seconds_of(budget, use, pace, slots, at))
                for _, pace, use, slots in paces.get(budget.pk, ())
            ]
            # Of the one that uses most: it may be idle, and at its limit already.
            found.append((most[budget.pk], seconds_of(budget, most[budget.pk], ZERO, {}, at)))
        use, seconds = min(found, key=lambda each: (_or_never(each[1]), -each[0].used))
        reaches.append(Reach(budget, use.subject, use.settled, use.held, seconds))
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    first = midnight.replace(day=1)
    month_end = window_ends("month", at) or at
    start = at.replace(second=0, microsecond=0) - timedelta(minutes=MINUTES - 1)
    return BurnRate(
        at=at,
        minute_usd=minute,
        hour_usd=hour,
        day_usd=day,
        month_usd=month,
        day_projected_usd=at_this_pace(day, hour / MINUTES, midnight + timedelta(days=1) - at),
        month_projected_usd=projected(month, at - first, month_end - first),
        limits=reaches,
        by_minute=[
            (moment, seen.get(moment, ZERO))
            for moment in (start + timedelta(minutes=number) for number in range(MINUTES))
        ],
    )
