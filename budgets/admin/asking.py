"""Asking for other caps, and changing what was asked, on one form with two buttons: "check" says
who would have to approve, "send" asks them."""

from decimal import Decimal
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.utils import timezone

from budgets import approvals, clock
from budgets.admin.forms import AskForm, rules_table
from budgets.admin.told import use_charts, values_told
from budgets.exceptions import Refused
from budgets.models import ChangeRequest, Grant, Measure
from budgets.usage import today
from opslog.admin.base import PageAdmin
from workorders.models import WorkOrder

# What a link to the form may fill in; people see it, and change it.
PROPOSED = (*Measure.values, "justification", "expected_cost_impact")


def ask(page: PageAdmin, request: HttpRequest, work_order: WorkOrder) -> HttpResponseBase:
    user: Any = request.user
    proposed = {name: request.GET[name] for name in PROPOSED if request.GET.get(name)}
    form = AskForm(request.POST or None, work_order=work_order, proposed=proposed)
    preview: dict[str, Any] = {}
    if request.method == "POST" and form.is_valid():
        try:
            if "check" in request.POST:
                preview = _preview(work_order, form)
            else:
                made = approvals.ask(work_order.pk, by=user, **form.told())
                said = "applied" if made.status == "applied" else "sent to those who decide"
                messages.success(request, f"Request #{made.pk} is {said}.")
                return HttpResponseRedirect(page.address(made))
        except Refused as error:
            form.add_error(None, str(error))
    title = f"Request a cap change: {work_order.title}"
    return _page(page, request, work_order, form, preview, title=title)


def edit(
    page: PageAdmin, request: HttpRequest, obj: ChangeRequest, work_order: WorkOrder
) -> HttpResponseBase:
    user: Any = request.user
    initial = {line.measure: line.new for line in obj.lines.all()}
    told = ("justification", "expected_cost_impact", "grant_from", "grant_until")
    initial |= {name: getattr(obj, name) for name in told}
    form = AskForm(request.POST or None, work_order=work_order, initial=initial)
    preview: dict[str, Any] = {}
    if request.method == "POST" and form.is_valid():
        try:
            if "check" in request.POST:
                preview = _preview(work_order, form)
            else:
                approvals.edit(obj.pk, by=user, **form.told())
                messages.success(
                    request, f"Request #{obj.pk} is changed; whoever signed is asked again."
                )
                return HttpResponseRedirect(page.address(obj))
        except Refused as error:
            form.add_error(None, str(error))
    approved = obj.votes.filter(revision=obj.revision).count()
    title = f"Change request #{obj.pk}: {work_order.title}"
    return _page(
        page, request, work_order, form, preview, title=title, editing=obj, approved=approved
    )


def _page(
    page: PageAdmin,
    request: HttpRequest,
    work_order: WorkOrder,
    form: AskForm,
    preview: dict[str, Any],
    **more: Any,
) -> HttpResponseBase:
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
        preview=preview,
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
