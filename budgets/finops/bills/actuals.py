"""What each dimension cost in a month: LLM from what runs and direct spend settled and from the
telemetry of calls that never asked, the rest from bills."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from budgets.models import DimensionBudget
from opslog.database import query
from workorders.models import CostDimension

ZERO = Decimal(0)
TELEMETRY, SETTLED, BILLS, NOTHING = "telemetry", "settled spend", "bills", "nothing yet"
BOTH = "settled spend, and telemetry of calls that never asked"

# By dimension and day. The mapping of category and name wins over that of the category.
BILLED = """
SELECT coalesce(exact.dimension, general.dimension, ''), c.day, sum(c.billed_usd)
FROM billed_costs c
LEFT JOIN service_mappings exact ON exact.service_category = c.service_category
    AND exact.service_name = c.service_name AND exact.service_name <> ''
LEFT JOIN service_mappings general ON general.service_category = c.service_category
    AND general.service_name = ''
WHERE c.day >= %(first)s AND c.day < %(after)s GROUP BY 1, 2
"""
UNMAPPED = """
SELECT c.service_category, c.service_name, sum(c.billed_usd) AS usd FROM billed_costs c
WHERE c.day >= %(first)s AND c.day < %(after)s AND NOT EXISTS (
    SELECT FROM service_mappings m WHERE m.service_category = c.service_category
        AND m.service_name IN ('', c.service_name))
GROUP BY 1, 2 ORDER BY usd DESC LIMIT 20
"""
LLM_DAYS = """
SELECT day, sum(governed), sum(ungoverned), coalesce(sum(reserved), 0) FROM (
    SELECT (starts_at AT TIME ZONE 'UTC')::date AS day, settled_usd AS governed,
        NULL::numeric AS ungoverned, reserved_usd AS reserved
    FROM counters WHERE scope = 'global' AND subject = '' AND "window" = 'day'
        AND starts_at >= %(from)s AND starts_at < %(until)s
    UNION ALL
    SELECT (hour AT TIME ZONE 'UTC')::date, NULL, cost_usd - governed_usd, NULL
    FROM inference_hours WHERE hour >= %(from)s AND hour < %(until)s
) parts GROUP BY day
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """US dollars of one dimension in one month, where they come from, and what else is known:
    `governed` is what runs and direct spend settled, `ungoverned` what telemetry adds: calls that
    never asked. `reserved` is held by runs that have not ended, and not among the dollars yet.
    `billed` is what bills say."""

    dimension: str
    usd: Decimal
    source: str
    governed: Decimal | None = None
    ungoverned: Decimal | None = None
    reserved: Decimal = ZERO
    billed: Decimal | None = None


@dataclass(frozen=True, slots=True)
class LlmDay:
    """US dollars of the LLM API on one UTC day; None: there is no such record."""

    governed: Decimal | None
    ungoverned: Decimal | None
    reserved: Decimal

    @property
    def usd(self) -> Decimal:
        """What runs and direct spend settled, plus the telemetry of calls that never asked. Other
        telemetry would count the same money twice."""
        return (self.governed or ZERO) + (self.ungoverned or ZERO)


def first_of(day: date) -> date:
    return day.replace(day=1)


def month_before(first: date) -> date:
    return first_of(first - timedelta(days=1))


def month_after(first: date) -> date:
    return first_of(first + timedelta(days=32))


def of_month(first: date) -> dict[str, Figure]:
    """Every dimension; in two queries. Charges of no known dimension stand under ''."""
    billed = {
        name: sum(days.values(), ZERO)
        for name, days in billed_days(first, month_after(first)).items()
    }
    days = llm_days(*_moments(first)).values()
    governed, ungoverned = _sum(day.governed for day in days), _sum(day.ungoverned for day in days)
    found = {
        name: Figure(name, billed.get(name, ZERO), BILLS if name in billed else NOTHING)
        for name in CostDimension.values
    }
    llm = CostDimension.LLM_API.value
    found[llm] = Figure(
        llm,
        sum((day.usd for day in days), ZERO),
        _source(ungoverned, governed),
        governed,
        ungoverned,
        sum((day.reserved for day in days), ZERO),
        billed.get(llm),
    )
    if "" in billed:
        found[""] = Figure("", billed[""], BILLS)
    return found


def billed_days(first: date, after: date) -> dict[str, dict[date, Decimal]]:
    """US dollars of each dimension ('': of none) on the days from `first` on and before `after`."""
    found: dict[str, dict[date, Decimal]] = {}
    for dimension, day, usd in query.rows(BILLED, {"first": first, "after": after}):
        found.setdefault(dimension, {})[day] = usd
    return found


def llm_days(since: datetime, until: datetime) -> dict[date, LlmDay]:
    """The UTC days from `since` on and before `until` that have a record."""
    return {
        day: LlmDay(*usd) for day, *usd in query.rows(LLM_DAYS, {"from": since, "until": until})
    }


def _source(ungoverned: Decimal | None, governed: Decimal | None) -> str:
    if governed and ungoverned:
        return BOTH
    if governed is not None:
        return TELEMETRY if ungoverned and not governed else SETTLED
    return NOTHING if ungoverned is None else TELEMETRY


def _sum(parts: Iterable[Decimal | None]) -> Decimal | None:
    known = [part for part in parts if part is not None]
    return sum(known, ZERO) if known else None


def unmapped(first: date) -> list[tuple[str, str, Decimal]]:
    """Services of the month's bills that no mapping covers, the costliest first."""
    return query.rows(UNMAPPED, _days(first))


def tiers_passed(usd: Decimal, budget: DimensionBudget) -> list[int]:
    """The tiers that a month's cost has reached, lowest first."""
    if budget.monthly_usd is None:
        return []
    return [tier for tier in sorted(set(budget.tiers)) if usd * 100 >= budget.monthly_usd * tier]


def _days(first: date) -> Mapping[str, date]:
    return {"first": first, "after": month_after(first)}


def _moments(first: date) -> tuple[datetime, datetime]:
    return (
        datetime.combine(first, time(), UTC),
        datetime.combine(month_after(first), time(), UTC),
    )
