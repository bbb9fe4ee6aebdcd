"""Asking for more of what many work orders share: a shared limit, or the limits of a feature."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.contrib.admin.utils import quote
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from budgets import approvals
from budgets.admin.forms import RaiseForm, rules_table
from budgets.admin.rules import interval
from budgets.approvals import subjects
from budgets.evidence import limit_evidence
from budgets.models import Budget, ChangeRequest, Measure
from opslog.admin.acts import StaffRequest, submitted
from opslog.admin.base import PageAdmin
from opslog.pages.charts import chart
from opslog.telemetry import change_markers

KINDS = {
    subjects.SharedLimit.kind: "admin:budgets_budget_change",
    subjects.FeatureLimits.kind: "admin:budgets_featurecontrol_change",
    subjects.OwnLimit.kind: "admin:budgets_approvallimit_change",
    subjects.TokenCeiling.kind: "admin:workorders_servicetoken_change",
}
PAGES = {approvals.WORK_ORDER: "admin:workorders_workorder_change", **KINDS}
LABELS = {
    Measure.SHARED_LIMIT.value: "New limit",
    Measure.FEATURE_THROTTLE.value: "Requests of a user in a period",
    Measure.FEATURE_COST_CAP.value: "US dollars in any 60 minutes",
    Measure.MAX_RUN_USD.value: "US dollars a run",
}

JUDGED = {
    Measure.USD_PER_DAY.value: "Dollars a day",
    Measure.SHARED_LIMIT.value: "Tokens, requests, runs",
}


def ask(page: PageAdmin, request: StaffRequest, kind: str, subject_id: str) -> HttpResponseBase:
    subject = _subject(kind, subject_id)
    form = _form(subject, request.POST or None)

    def send(_: object) -> tuple[ChangeRequest, str]:
        made = approvals.ask(subject_id, kind=kind, by=request.user, **form.arguments())
        return made, f"Request #{made.pk} is sent to those who decide."

    if made := submitted(request, form, send):
        return HttpResponseRedirect(page.address(made))
    unsaved = ChangeRequest(subject_type=kind, subject_id=subject_id)
    return _page(page, request, subject, form, unsaved, title=f"Request a raise: {subject.label}")


def edit(page: PageAdmin, request: StaffRequest, obj: ChangeRequest) -> HttpResponseBase:
    subject = _subject(obj.subject_type, obj.subject_id)
    initial: dict[str, Any] = {line.measure: line.new for line in obj.lines.all()}
    initial |= {
        "justification": obj.justification,
        "expected_cost_impact": obj.expected_cost_impact,
    }
    form = _form(subject, request.POST or None, initial)
    if submitted(request, form, lambda _: edited(obj, request, form.arguments())):
        return HttpResponseRedirect(page.address(obj))
    title = f"Change request #{obj.pk}: {subject.label}"
    return _page(page, request, subject, form, obj, title=title, editing=obj)


def edited(
    obj: ChangeRequest, request: StaffRequest, arguments: dict[str, Any]
) -> tuple[ChangeRequest, str]:
    approvals.edit(obj.pk, by=request.user, **arguments)
    return obj, f"Request #{obj.pk} is changed; whoever signed is asked again."


def address_of(request: ChangeRequest, names: Mapping[tuple[str, str], str] | None = None) -> str:
    """The page of what it is about; none where a limit of it is gone."""
    if names is None:
        names = approvals.names_of([request])
    if (request.subject_type, request.subject_id) not in names:
        return ""
    return reverse(PAGES[request.subject_type], args=[quote(request.subject_id)])


def shown(request: ChangeRequest) -> dict[str, Any]:
    """What the template `budgets/limit_evidence.html` needs; nothing where the limit is gone."""
    found = limit_evidence(request, now=timezone.now())
    if found is None:
        return {}
    unit, limits, window = "usd", [], "direct spend included, last 24 hours"
    if request.subject_type == subjects.SharedLimit.kind:
        budget = Budget.objects.get(pk=request.subject_id)
        unit = "usd" if budget.measure == Budget.Measure.USD else "runs"
        window = str(budget.get_window_display())
        if budget.window == Budget.Window.DAY and unit == "usd" and budget.amount is not None:
            limits = [("limit now", budget.amount, "now")]
    markers = change_markers.for_days([day for day, _ in found.refused])
    charts = [
        (
            label,
            chart(values, limits if label.startswith("US") else [], unit=of, markers=markers),
        )
        for label, of, values in (
            ("US dollars a day, everything", "usd", [(day.day, day.usd) for day in found.days]),
            (
                "Refused a day",
                "runs",
                [(day, Decimal(times)) for day, times in found.refused if found.refused_total],
            ),
        )
        if values
    ]
    events = reverse("ops-logs")
    return {
        "limit": found,
        "unit": unit,
        "used_label": f"Used now, {window}",
        "charts": charts,
        "refusals_url": f"{events}?{urlencode({'kind': 'refusals'})}",
    }


def _subject(kind: str, subject_id: str) -> subjects.Subject:
    """As it is now; the request itself reads it again, under the lock."""
    if not (subject_id.isascii() and subject_id.isdigit() and len(subject_id) < 10):
        raise Http404("There is no such limit.")
    try:
        with transaction.atomic():
            return subjects.lock(kind, subject_id)
    except ObjectDoesNotExist:
        raise Http404("There is no such limit.") from None


def _form(subject: subjects.Subject, data: Any, initial: dict[str, Any] | None = None) -> RaiseForm:
    return RaiseForm(data, values=subject.values(), labels=LABELS, initial=initial or {})


def _page(
    page: PageAdmin,
    request: HttpRequest,
    subject: subjects.Subject,
    form: RaiseForm,
    about: ChangeRequest,
    **more: Any,
) -> HttpResponseBase:
    table = [
        {"range": f"{JUDGED[row['rule'].measure]}: {interval(row['rule'])}", **row}
        for row in rules_table()
        if row["rule"].measure in (Measure.USD_PER_DAY, Measure.SHARED_LIMIT)
    ]
    return page.render(
        request,
        "budgets/raise.html",
        more.get("editing"),
        form=form,
        rules=table,
        back=address_of(about),
        **shown(about),
        **more,
    )
