"""The rules of an incident that need no database: how bad, which spike, when normal, who knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from opslog.triage.data import CELL_HOURS
from opslog.triage.thresholds import FLOOR_USD_PER_HOUR, LEAST_HISTORY

# The cost of an hour against its baseline: over the double is major, over the fivefold critical.
MAJOR_OVER = Decimal(1)
CRITICAL_OVER = Decimal(4)

# Two verdicts that blame different features are about one spike where it starts within these hours.
SAME_START = timedelta(hours=6)
# So long an incident's figures follow the cost. Later too few hours from before it are left to
# compare with, and what is dear for so long is what is usual for a new spike.
FOLLOWED = timedelta(hours=CELL_HOURS - LEAST_HISTORY)
# A stabilised incident whose spike comes back within a day is the same one again.
RELAPSE = timedelta(hours=24)

# Stabilised: cost back within 20 % of the baseline for two hours, as the playbook has it. Where an
# hour normally costs next to nothing, that is less than the triage gets up for: what it would alarm
# nobody about (its floor, dollars an hour above the baseline) is normal, too. Nothing else is: a
# share of the former excess was rejected, because of a dear spike that is still a lot of money.
WITHIN = Decimal("0.2")
FLOOR = Decimal(str(FLOOR_USD_PER_HOUR))
CALM_HOURS = 2

# The runbook: at once, within an hour; the last one if it is critical.
STEP = timedelta(hours=1)


def severity_of(cost: Decimal, baseline: Decimal) -> str:
    """minor, major or critical, by how many times the baseline the cost is above it."""
    if baseline <= 0:
        return "critical"
    times = (cost - baseline) / baseline
    return "critical" if times > CRITICAL_OVER else "major" if times > MAJOR_OVER else "minor"


@dataclass(frozen=True, slots=True)
class Open:
    """What matching needs to know of an incident that is not reviewed."""

    id: int
    feature: str
    started_at: datetime
    stabilised_at: datetime | None


def same_spike(
    incidents: Sequence[Open], feature: str, started_at: datetime, now: datetime
) -> int | None:
    """The incident that a verdict is about, or None for a new one.

    The same feature first: nothing else burns there meanwhile. Then, of those that are still
    followed, one where either has no
    feature: it is known better now, or less well. Then another feature with about the same start:
    the blame has moved. A stabilised incident is taken for the same feature only, within a day.
    """
    active = [each for each in incidents if each.stabilised_at is None]
    for each in active:
        if each.feature == feature:
            return each.id
    young = [each for each in active if now - each.started_at <= FOLLOWED]
    by_start = sorted(young, key=lambda each: abs(each.started_at - started_at))
    for each in by_start:
        if not each.feature or not feature:
            return each.id
    for each in by_start:
        if abs(each.started_at - started_at) <= SAME_START:
            return each.id
    for each in incidents:
        calm = each.stabilised_at
        if calm is not None and each.feature == feature and now - calm <= RELAPSE:
            return each.id
    return None


@dataclass(frozen=True, slots=True)
class Hour:
    """What one complete hour cost, and what it normally costs."""

    at: datetime
    usd: Decimal
    baseline_usd: Decimal


def allowed(baseline: Decimal) -> Decimal:
    """Up to which cost an hour counts as normal again."""
    return max(baseline * (1 + WITHIN), baseline + FLOOR)


def is_normal(hour: Hour) -> bool:
    return hour.usd <= allowed(hour.baseline_usd)


def calm_since(hours: Sequence[Hour]) -> int:
    """How many of the last hours in a row were normal; hours in order of time."""
    count = 0
    for hour in reversed(hours):
        if not is_normal(hour):
            break
        count += 1
    return count


def is_rising(hours: Sequence[Hour], acted_at: datetime | None) -> bool:
    """Whether the last hour that began after `acted_at` costs no less than the one before it was
    done. Without an act, and without a whole hour since, there is nothing to say yet."""
    if acted_at is None:
        return False
    after = [hour for hour in hours if hour.at >= acted_at]
    before = [hour for hour in hours if hour.at < acted_at]
    return bool(after and before) and after[-1].usd >= max(hour.usd for hour in before[-2:])


@dataclass(frozen=True, slots=True)
class Situation:
    """What escalation looks at. `above`: the last complete hour was not normal."""

    level: int
    severity: str
    detected_at: datetime
    mitigated_at: datetime | None
    escalated_at: datetime | None
    above: bool
    rising: bool


def level_due(seen: Situation, now: datetime) -> int:
    """The escalation level that time has brought: never lower than the present one.

    1, immediately: the incident is critical, or cost still rises after a mitigation; for any other,
    where nobody did anything for an hour. 2, an hour after that: still above normal. 3, another
    hour: still above, and critical.
    """
    if not seen.above:
        return seen.level
    waited = seen.escalated_at is not None and now - seen.escalated_at >= STEP
    if seen.level == 0:
        nobody_acted = seen.mitigated_at is None and now - seen.detected_at >= STEP
        return 1 if seen.severity == "critical" or seen.rising or nobody_acted else 0
    if seen.level == 1:
        return 2 if waited else 1
    if seen.level == 2 and waited and seen.severity == "critical":
        return 3
    return seen.level
