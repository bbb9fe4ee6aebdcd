"""Asking for other caps, and changing what was asked, on one form with two buttons: "check" says
who would have to approve, "send" asks them."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from django.http import HttpResponseBase, HttpResponseRedirect
from django.utils import timezone

from budgets import approvals, clock
from budgets.admin.forms import AskForm, rules_table
from budgets.admin.raising import edited
from budgets.admin.told import use_charts, values_told
from budgets.exceptions import Refused
from budgets.models import ChangeRequest, Grant, Measure
from budgets.usage import today
from opslog.admin.acts import StaffRequest, submitted
from opslog.admin.base import PageAdmin
from workorders.models import WorkOrder

# What a link to the form may fill in; people see it, and change it.
PROPOSED = (*Measure.values, "justification", "expected_cost_impact")


def ask(page: PageAdmin, request: StaffRequest, work_order: WorkOrder) -> HttpResponseBase:
    proposed = {name: request.GET[name] for name in PROPOSED if request.GET.get(name)}
    form = AskForm(request.POST or None, work_order=work_order, proposed=proposed)

    def send() -> tuple[ChangeRequest, str]:
        made = approvals.ask(work_order.pk, by=request.user, **form.arguments())
        outcome = "applied" if made.status == "applied" else "sent to those who decide"
        return made, f"Request #{made.pk} is {outcome}."

    title = f"Request a cap change: {work_order.title}"
    return _check_or_send(page, request, work_order, form, send, title=title)


def edit(
    page: PageAdmin, request: StaffRequest, obj: ChangeRequest, work_order: WorkOrder
) -> HttpResponseBase:
    initial = {line.measure: line.new for line in obj.lines.all()}
    names = ("justification", "expected_cost_impact", "grant_from", "grant_until")
    initial |= {name: getattr(obj, name) for name in names}
    form = AskForm(request.POST or None, work_order=work_order, initial=initial)
    return _check_or_send(
        page,
        request,
        work_order,
        form,
        lambda: edited(obj, request, form.arguments()),
        title=f"Change request #{obj.pk}: {work_order.title}",
        editing=obj,
        approved=obj.votes.filter(revision=obj.revision).count(),
    )


def _check_or_send(
    page: PageAdmin,
    request: StaffRequest,
    work_order: WorkOrder,
    form: AskForm,
    send: Callable[[], tuple[ChangeRequest, str]],
    **more: Any,
) -> HttpResponseBase:
    checks = "check" in request.POST
    done = submitted(
        request, form, lambda _: (_preview(work_order, form), "") if checks else send()
    )
    if isinstance(done, ChangeRequest):
        return HttpResponseRedirect(page.address(done))
    pending = None if "editing" in more else approvals.waiting()
    programs = (
        pending
        and pending.filter(
            subject_type=approvals.WORK_ORDER,
            subject_id=work_order.pk,
            token__isnull=False,
            revision=1,
        ).first()
    )
    return page.render(
        request,
        "budgets/ask.html",
        more.get("editing"),
        work_order=work_order,
        form=form,
        usage=today.usage_today(work_order),
        rules=rules_table(),
        preview=done or {},
        charts=use_charts(work_order, clock.midnight()),
        grants=Grant.objects.filter(wo=work_order, ends_at__gt=timezone.now()),
        programs=programs,
        **more,
    )


def _preview(work_order: WorkOrder, form: AskForm) -> dict[str, Any]:
    caps = approvals.caps_of(work_order)
    changed = {
        measure: (caps[measure], Decimal(value))
        for measure, value in form.wanted().items()
        if value is not None
    }
    if not changed:
        raise Refused("Nothing would change.")
    since, until = form.cleaned_data["grant_from"], form.cleaned_data["grant_until"]
    needed = approvals.slots_for(work_order.pk, changed, since=since, until=until)
    return {
        "changes": [values_told(measure, old, new) for measure, (old, new) in changed.items()],
        "needed": sorted(needed.items()),
        "at_once": not any(new > old for old, new in changed.values()),
        "since": since,
        "until": until,
    }
