"""Which months are over and have no review yet."""

from collections.abc import Collection
from datetime import date

from budgets.finops.bills import actuals
from budgets.models import Deployment, MonthlyReview
from opslog.database import query

# A review opened later than this is of use to nobody, and its telemetry may be dropped.
MOST_MONTHS = 6
FIRST_DAY = """
SELECT least(
    (SELECT min(day) FROM billed_costs),
    (SELECT (min(hour) AT TIME ZONE 'UTC')::date FROM inference_hours),
    (SELECT (min(starts_at) AT TIME ZONE 'UTC')::date FROM counters
        WHERE scope = 'global' AND subject = '' AND "window" = 'day')
)
"""


def missing(*, first: date, last: date, known: Collection[date]) -> list[date]:
    """The months from `first` to `last` that are not known, oldest first; of the last MOST_MONTHS
    alone. All are first days of months. Pure."""
    found: list[date] = []
    month = last
    for _ in range(MOST_MONTHS):
        if month < first:
            break
        if month not in known:
            found.append(month)
        month = actuals.month_before(month)
    return found[::-1]


def due(today: date) -> list[date]:
    """What the job opens: every month that is over and has figures, a missed one too. Without any
    figures the last month, if the database was there: one that was made this month has none."""
    last, first = _last(today), _first_with_figures()
    if first is None or first > last:
        stamped = Deployment.objects.values_list("stamped_at", flat=True).first()
        if stamped is not None and stamped.date() >= actuals.month_after(last):
            return []
        first = last
    return missing(first=first, last=last, known=_known())


def openable(today: date) -> list[date]:
    """What a person may open: what the job would, and the last month in any case."""
    last = _last(today)
    return missing(first=min(_first_with_figures() or last, last), last=last, known=_known())


def _last(today: date) -> date:
    return actuals.month_before(actuals.first_of(today))


def _known() -> set[date]:
    return set(MonthlyReview.objects.order_by("-month").values_list("month", flat=True)[:100])


def _first_with_figures() -> date | None:
    (day,) = query.one(FIRST_DAY)
    return actuals.first_of(day) if day else None
