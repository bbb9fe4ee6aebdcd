"""A month that will run over its budget: projected from its days, with the error of the past.

The LLM API by what each day cost (`actuals.llm_days`, as its tiers); everything else by the days of
its bills, up to the last day that is billed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from budgets.finops.bills import actuals
from budgets.models import DimensionBudget
from opslog.forecasting import outlook
from workorders.models import CostDimension

HISTORY = timedelta(days=90)
GOVERNED_SPEND = "governed"  # settled and reserved, as the limits count it
LEAST_DAYS = 3  # of history: before that a projection is a guess


@dataclass(frozen=True, slots=True)
class Projection:
    """US dollars of one month. `low` and `high`: where nine in ten such projections of the past
    would have ended; None where history is too short to say."""

    spent: Decimal
    projected: Decimal
    low: Decimal | None
    high: Decimal | None

    @property
    def error(self) -> str:
        if self.low is None or self.high is None:
            return "error not known yet: the history is too short"
        return f"${self.low:,.2f} to ${self.high:,.2f} in nine of ten cases"


def project(days: Mapping[date, Decimal], at: datetime) -> Projection | None:
    """The month of `at` (UTC) from sums of days; the day of `at` counts up to its hour. None where
    history is too short, or nothing of the month is known. Pure."""
    known = [day for day in days if day <= at.date()]
    if not known or (at.date() - min(known)).days < LEAST_DAYS:
        return None
    ends = at.replace(minute=0, second=0, microsecond=0)
    first = datetime.combine(min(known), time(), UTC)
    sums: dict[datetime, Decimal] = {}
    for day, usd in days.items():
        midnight = datetime.combine(day, time(), UTC)
        hours = min(int((ends - midnight) / timedelta(hours=1)), 24)
        for step in range(hours):
            sums[midnight + timedelta(hours=step)] = usd / hours
    series = outlook.filled(first, ends, sums)
    if not series.hours:
        return None
    month = outlook.forecast(series).month
    return Projection(
        cents(month.spent_usd),
        cents(month.forecast_usd),
        None if month.low_usd is None else cents(month.low_usd),
        None if month.high_usd is None else cents(month.high_usd),
    )


def cents(usd: Decimal) -> Decimal:
    """Rounded once, at the end: a day divided into hours is not exact."""
    return usd.quantize(Decimal("0.01"))


def of_month(now: datetime) -> dict[str, Projection]:
    """The projection of each dimension with a monthly budget, where one can be made."""
    since = (now - HISTORY).date()
    llm = actuals.llm_days(datetime.combine(since, time(), UTC), now)
    billed = actuals.billed_days(since, now.date() + timedelta(days=1))
    days = billed | {CostDimension.LLM_API.value: {day: each.usd for day, each in llm.items()}}
    governed = {
        day: each.governed + each.reserved for day, each in llm.items() if each.governed is not None
    }
    found = {}
    if (everything := project(governed, now)) is not None:
        found[GOVERNED_SPEND] = everything
    for budget in DimensionBudget.objects.exclude(monthly_usd=None):
        sums = days.get(budget.dimension, {})
        at = now
        if sums and budget.dimension != CostDimension.LLM_API:
            after = datetime.combine(max(sums) + timedelta(days=1), time(), UTC)
            at = min(now, after)
        if at.month == now.month and (made := project(sums, at)) is not None:
            found[budget.dimension] = made
    return found
