"""What a request asks for, and whose signatures that needs."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property

from django.utils import timezone

from budgets.approvals import rules, solo_operator
from budgets.approvals.solo_operator import SoloOperator
from budgets.approvals.subjects import WORK_ORDER, OwnLimit, SharedLimit, Values
from budgets.exceptions import Refused
from budgets.models import ApprovalLimit, ApprovalRule, Budget, ChangeRequest, Grant, Measure

Lines = dict[str, tuple[Decimal, Decimal]]  # measure → old, new


def lines_of(request: ChangeRequest) -> Lines:
    return {line.measure: (line.old, line.new) for line in request.lines.all()}


def current_rules() -> list[rules.Rule]:
    """All rules with their slots, in one statement: two would see a change of them half done."""
    found: dict[int, rules.Rule] = {}
    rows = ApprovalRule.objects.order_by("measure", "minimum", "slots__group__name").values_list(
        "pk", "measure", "minimum", "maximum", "slots__group__name", "slots__count"
    )
    for pk, measure, minimum, maximum, group, count in rows:
        slots = dict(found[pk].slots) if pk in found else {}
        if group is not None:
            slots[group] = count
        found[pk] = rules.Rule(measure, minimum, maximum, slots)
    return list(found.values())


class Live:
    """The grants of some work orders that are not over, read once for many questions."""

    def __init__(self, work_order_ids: Iterable[str]) -> None:
        self._grants = list(
            Grant.objects.filter(wo__in=set(work_order_ids), ends_at__gt=timezone.now())
        )

    def highest(
        self, work_order_id: str, measure: str, since: datetime, until: datetime | None
    ) -> Decimal:
        """The highest grant of a measure that overlaps [since, until); 0 without one."""
        return max(
            (
                grant.value
                for grant in self._grants
                if (grant.wo_id, grant.measure) == (work_order_id, measure)
                and grant.ends_at > since
                and (until is None or grant.starts_at < until)
            ),
            default=Decimal(0),
        )


@dataclass(frozen=True)
class Known:
    """What many requests are judged by, read once."""

    rules: list[rules.Rule]
    live: Live

    @classmethod
    def about(cls, work_order_ids: Iterable[str]) -> "Known":
        return cls(current_rules(), Live(work_order_ids))

    @cached_property
    def limits(self) -> dict[str, Budget]:
        """All shared limits, by their id as requests have it; read where a request is about one."""
        return {str(budget.pk): budget for budget in Budget.objects.all()}

    @cached_property
    def solo(self) -> SoloOperator | None:
        """Who may sign for themselves, if anybody may; read where a request is about that."""
        return solo_operator.in_effect()

    @cached_property
    def own_limits(self) -> dict[str, ApprovalLimit]:
        """The same for how far one person or token goes alone."""
        return {str(limit.pk): limit for limit in ApprovalLimit.objects.all()}


def slots_of(request: ChangeRequest, known: Known | None = None) -> dict[str, int]:
    """Who must sign this request. Raises Refused where nobody could approve it."""
    return slots_for(
        request.subject_id,
        lines_of(request),
        kind=request.subject_type,
        since=request.grant_from,
        until=request.grant_until,
        known=known,
    )


def slots_for(
    subject_id: str,
    lines: Lines,
    *,
    kind: str = WORK_ORDER,
    since: datetime | None = None,
    until: datetime | None = None,
    known: Known | None = None,
) -> dict[str, int]:
    """Who must sign for these lines: by the *resulting effective* cap of each measure raised.

    A live grant above what is asked for raises the resulting cap. Raises Refused where no rule
    covers it: nobody could approve that.
    """
    known = known or Known.about([subject_id])
    try:
        return rules.slots_for(
            known.rules, raised(kind, subject_id, lines, since=since, until=until, known=known)
        )
    except rules.NoRule as error:
        raise Refused(f"Nobody could approve this: {error}. Ask an administrator.") from error


def raised(
    kind: str,
    subject_id: str,
    lines: Lines,
    *,
    since: datetime | None,
    until: datetime | None,
    known: Known,
) -> dict[str, Decimal]:
    """The resulting effective cap of each measure that is raised, as the rules judge it."""
    raises = {measure: new for measure, (old, new) in lines.items() if new > old}
    if kind != WORK_ORDER:
        return _judged(kind, subject_id, raises, known)
    moment = since or timezone.now()
    return {
        measure: max(new, known.live.highest(subject_id, measure, moment, until))
        for measure, new in raises.items()
    }


def _judged(kind: str, subject_id: str, raises: Values, known: Known) -> Values:
    """Dollars by the rules of a day, at their daily equivalent; anything else by one rule."""
    judged: Values = {}
    for measure, new in raises.items():
        window = ""
        if kind == SharedLimit.kind:
            if (limit := known.limits.get(subject_id)) is None:
                raise Refused("This limit is gone.")
            window = limit.window if limit.measure == Budget.Measure.USD else ""
        elif kind == OwnLimit.kind:
            window = "day" if known.own_limits[subject_id].is_usd else ""
        elif measure == Measure.FEATURE_COST_CAP:
            window = "rolling_hour"
        elif measure == Measure.MAX_RUN_USD:
            window = "day"  # a run is of one day
        by = Measure.USD_PER_DAY if window else Measure.SHARED_LIMIT
        value = rules.daily_equivalent(new, window) if window else new
        judged[by] = max(value, judged.get(by, value))
    return judged


def raised_by(request: ChangeRequest) -> dict[str, Decimal]:
    return raised(
        request.subject_type,
        request.subject_id,
        lines_of(request),
        since=request.grant_from,
        until=request.grant_until,
        known=Known.about([request.subject_id]),
    )
