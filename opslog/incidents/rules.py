"""The rules of an incident that need no database: how bad, which spike, when normal, who knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum

from opslog.triage.data import CELL_HOURS
from opslog.triage.thresholds import FLOOR_USD_PER_HOUR, LEAST_HISTORY

# How bad it is by two measures, of which the milder one counts. By ratio: over the double of the
# baseline is major, over the fivefold critical. In dollars an hour above it: half a dollar spends a
# quarter of the shipped limit of a day ($50) within the day, two dollars spend all of it.
MAJOR_OVER, MAJOR_USD = Decimal(1), Decimal("0.50")
CRITICAL_OVER, CRITICAL_USD = Decimal(4), Decimal(2)
# Twenty times those dollars ($10, the shipped limit of any hour, and $40) are as bad at any ratio.
WHATEVER_THE_RATIO = 20

# Two verdicts that blame different features are about one spike where it starts within these hours.
SAME_START = timedelta(hours=6)
# So long an incident's figures follow the cost. Later too few hours from before it are left to
# compare with, and a cost that is high for so long is usual for a new spike.
FOLLOWED = timedelta(hours=CELL_HOURS - LEAST_HISTORY)
# A stabilised incident whose spike comes back within a day is the same one again.
RELAPSE = timedelta(hours=24)

# Stabilised: cost back within 20 % of the baseline for two hours, as the playbook has it. Where an
# hour normally costs next to nothing, that is less than the triage gets up for: what it would alarm
# nobody about (its floor, dollars an hour above the baseline) is normal, too. Nothing else is: a
# share of the former excess was rejected, because of a large spike that is still a lot of money.
WITHIN = Decimal("0.2")
FLOOR = Decimal(str(FLOOR_USD_PER_HOUR))
CALM_HOURS = 2

# The runbook: at once, within an hour; the last one if it is critical.
STEP = timedelta(hours=1)


def severity_of(cost: Decimal, baseline: Decimal) -> str:
    """minor, major or critical, by dollars an hour above the baseline and by their ratio to it."""
    excess = cost - baseline
    for severity, over, usd in (
        ("critical", CRITICAL_OVER, CRITICAL_USD),
        ("major", MAJOR_OVER, MAJOR_USD),
    ):
        both = excess > over * baseline and excess >= usd
        if both or excess >= usd * WHATEVER_THE_RATIO:
            return severity
    return "minor"


def end_of(closed_at: datetime) -> datetime:
    """Up to which hour the hours belong to an incident: the one in which it was closed, if most of
    that was before."""
    return (closed_at + timedelta(minutes=30)).replace(minute=0, second=0, microsecond=0)


@dataclass(frozen=True, slots=True)
class Open:
    """What matching needs to know of an incident. `stabilised_at` None: it is active."""

    id: int
    feature: str
    started_at: datetime
    stabilised_at: datetime | None
    reviewed: bool = False

    def owns(self, feature: str, started_at: datetime) -> bool:
        """Whether a spike that began then lies in the hours of this closed incident."""
        if self.stabilised_at is None or started_at >= end_of(self.stabilised_at):
            return False
        apart = abs(started_at - self.started_at)
        alike = feature == self.feature or not feature or not self.feature
        return apart <= SAME_START or (alike and started_at >= self.started_at)


def same_spike(
    incidents: Sequence[Open], feature: str, started_at: datetime, now: datetime
) -> int | None:
    """The incident that a verdict is about, or None for a new one; incidents newest first.

    The same feature first: nothing else burns there meanwhile. Then, of those that are still
    followed, one where either has no
    feature: it is known better now, or less well. Then another feature with about the same start:
    the blame has moved. Then a closed one in whose hours the spike began. Last a stabilised one of
    the same feature that was closed less than a day before: a relapse.
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
        if each.owns(feature, started_at):
            return each.id
    for each in incidents:
        calm = each.stabilised_at
        if calm is None or each.reviewed or each.feature != feature:
            continue
        if timedelta(0) <= started_at - end_of(calm) <= RELAPSE:
            return each.id
    return None


@dataclass(frozen=True, slots=True)
class Hour:
    """What one complete hour cost, and what it normally costs. `silent`: nothing reported a call,
    so its cost is not known."""

    at: datetime
    usd: Decimal
    baseline_usd: Decimal
    silent: bool = False


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


class Going(Enum):
    """What the hours since a closing say."""

    ON = "it never came down"
    AGAIN = "it came down, and is up again"
    OVER = "it is over"


def since_closed(
    hours: Sequence[tuple[datetime, bool | None]], closed_at: datetime
) -> tuple[Going, datetime | None]:
    """Whether the cost of a closed incident goes on, and since when it is up again.

    `hours`: each whole hour from the last two before the closing on, and whether it was normal
    (None: not known). Two normal hours in a row end a spike. Before them one hour above normal that
    lies mostly after the closing says that it was closed too early; after them two such hours are
    a spike again, and a single one is a blip.
    """
    calm, ended, dear, begins = 0, False, 0, None
    last: bool | None = None
    for at, normal in hours:
        after = at >= end_of(closed_at)
        if normal is None:
            continue
        last = normal if after else last
        if normal:
            calm += 1
            if calm >= CALM_HOURS:
                ended, dear, begins = True, 0, None
        else:
            calm = 0
            if after:
                dear, begins = dear + 1, begins or at
    if not ended:
        known = any(normal is not None for _, normal in hours)
        return (Going.ON if last is False or not known else Going.OVER), None
    return (Going.AGAIN, begins) if dear >= CALM_HOURS else (Going.OVER, None)


def above_since(hours: Sequence[Hour]) -> datetime | None:
    """Since when each hour up to the last one is above normal; None where the last one is not."""
    since = None
    for hour in reversed(hours):
        if is_normal(hour):
            break
        since = hour.at
    return since


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
    """What escalation looks at. `alarmed_at`: when people were last notified that it burns.
    `mitigated_at`: when something was last applied since then. `above_since`: when the first of the
    unbroken hours above normal began."""

    level: int
    severity: str
    alarmed_at: datetime
    mitigated_at: datetime | None
    escalated_at: datetime | None
    above_since: datetime | None
    rising: bool


def level_due(seen: Situation, now: datetime) -> int:
    """The escalation level that time has brought: never lower than the present one.

    1, immediately: the incident is critical, or cost still rises after a mitigation; for any other,
    where nobody did anything for an hour. 2, an hour after that: still above normal. 3, another
    hour: still above, and critical.
    """
    if seen.above_since is None:
        return seen.level
    # Hours of calm are no waiting: the cost did come down. What is above is known an hour later.
    known = seen.above_since + STEP
    waited = seen.escalated_at is not None and now - max(seen.escalated_at, known) >= STEP
    if seen.level == 0:
        nobody_acted = seen.mitigated_at is None and now - max(seen.alarmed_at, known) >= STEP
        return 1 if seen.severity == "critical" or seen.rising or nobody_acted else 0
    if seen.level == 1:
        return 2 if waited else 1
    if seen.level == 2 and waited and seen.severity == "critical":
        return 3
    return seen.level
