"""What a request asks for, and whose signatures that needs."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.utils import timezone

from budgets import rules
from budgets.approvals import grants
from budgets.exceptions import Refused
from budgets.models import ApprovalRule, ChangeRequest

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


@dataclass(frozen=True)
class Known:
    """What many requests are judged by, read once."""

    rules: list[rules.Rule]
    live: grants.Live

    @classmethod
    def about(cls, work_order_ids: Iterable[str]) -> "Known":
        return cls(current_rules(), grants.Live(work_order_ids))


def slots_of(request: ChangeRequest, known: Known | None = None) -> dict[str, int]:
    """Who must sign this request. Raises Refused where nobody could approve it."""
    return slots_for(
        request.subject_id,
        lines_of(request),
        since=request.grant_from,
        until=request.grant_until,
        known=known,
    )


def slots_for(
    work_order_id: str,
    lines: Lines,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    known: Known | None = None,
) -> dict[str, int]:
    """Who must sign for these lines: by the *resulting effective* cap of each measure raised.

    A live grant above what is asked for raises the resulting cap. Raises Refused where no rule
    covers it: nobody could approve that.
    """
    known = known or Known.about([work_order_id])
    try:
        return rules.slots_for(
            known.rules, raised(work_order_id, lines, since=since, until=until, live=known.live)
        )
    except rules.NoRule as error:
        raise Refused(f"Nobody could approve this: {error}. Ask an administrator.") from error


def raised(
    work_order_id: str,
    lines: Lines,
    *,
    since: datetime | None,
    until: datetime | None,
    live: grants.Live,
) -> dict[str, Decimal]:
    """The resulting effective cap of each measure that is raised."""
    moment = since or timezone.now()
    return {
        measure: max(new, live.highest(work_order_id, measure, moment, until))
        for measure, (old, new) in lines.items()
        if new > old
    }


def raised_by(request: ChangeRequest) -> dict[str, Decimal]:
    return raised(
        request.subject_id,
        lines_of(request),
        since=request.grant_from,
        until=request.grant_until,
        live=grants.Live([request.subject_id]),
    )
