"""How fast money goes out, and when each limit is reached at that pace. Reads counters only."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import connection

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
        AND starts_at > c.now - tollgate.reach('rolling_minute') AND starts_at <= c.now), 0),
    coalesce((SELECT sum(reserved_usd + settled_usd) FROM counters WHERE scope = 'global'
        AND subject = '' AND "window" = 'rolling_hour'
        AND starts_at > c.now - tollgate.reach('rolling_hour') AND starts_at <= c.now), 0),
    coalesce((SELECT reserved_usd + settled_usd FROM counters WHERE key
        = tollgate.counter_key('global', '', 'day', tollgate.begins('day', c.now))), 0),
    coalesce((SELECT sum(reserved_usd + settled_usd) FROM counters WHERE scope = 'global'
        AND subject = '' AND "window" = 'day'
        AND starts_at BETWEEN tollgate.begins('month', c.now) AND c.now), 0)
FROM c
"""
BY_MINUTE = """
SELECT starts_at, reserved_usd + settled_usd FROM counters WHERE scope = 'global' AND subject = ''
    AND "window" = 'rolling_hour' AND starts_at > %(now)s - tollgate.reach('rolling_hour')
    AND starts_at <= %(now)s
ORDER BY starts_at
"""
USED = """
SELECT b.id, coalesce(max(k.used), 0), max(k.subject)
FROM budgets b LEFT JOIN LATERAL (
    SELECT s.subject, sum(s.reserved_usd + s.settled_usd) AS used FROM counters s
    WHERE s.scope = b.scope AND s."window" = b."window" AND b.subject IN ('', '*', s.subject)
        AND s.starts_at BETWEEN tollgate.counts_from(b."window", %(now)s) AND %(now)s
    GROUP BY s.subject ORDER BY used DESC LIMIT 1) k ON true
WHERE b.measure = 'usd' AND b.amount IS NOT NULL GROUP BY b.id
"""


@dataclass(frozen=True, slots=True)
class Reach:
    """A limit in dollars: what is used of it, and in how many seconds it is reached at this pace;
    None: not before its window ends, and of a rolling one, never. For a limit of each subject: of
    the one that used most."""

    budget: Budget
    subject: str
    used_usd: Decimal
    seconds: int | None


@dataclass(frozen=True, slots=True)
class BurnRate:
    """Committed US dollars: settled, and reserved by what runs."""

    at: datetime
    minute_usd: Decimal  # in the last 60 seconds
    hour_usd: Decimal  # in the last 60 minutes
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
    """In four queries, whatever has happened."""
    with connection.cursor() as cursor:
        cursor.execute(FIGURES)
        at, minute, hour, day, month = cursor.fetchone()
        cursor.execute(BY_MINUTE, {"now": at})
        seen = dict(cursor.fetchall())
        cursor.execute(USED, {"now": at})
        used = {budget_id: (amount, subject or "") for budget_id, amount, subject in cursor}
    limits = []
    for budget in Budget.objects.filter(pk__in=used):
        amount, subject = used[budget.pk]
        ends = window_ends(budget.window, at)
        pace = minute if budget.scope == Budget.Scope.GLOBAL else ZERO
        if budget.window == Budget.Window.ROLLING_MINUTE:
            # What it holds is the pace itself: it is reached, or stays where it is.
            seconds = 0 if budget.amount is not None and amount >= budget.amount else None
        elif budget.window == Budget.Window.ROLLING_HOUR and budget.scope == Budget.Scope.GLOBAL:
            seconds = seconds_until_rolling(seen.items(), budget.amount or ZERO, pace, at)
        else:
            left = None if ends is None else ends - at
            seconds = seconds_until(amount, budget.amount or ZERO, pace, left)
        limits.append(Reach(budget, subject, amount, seconds))
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
        limits=limits,
        by_minute=[
            (moment, seen.get(moment, ZERO))
            for moment in (start + timedelta(minutes=number) for number in range(MINUTES))
        ],
    )
