"""One proposal of an incident: what applying it does, in numbers, a reason, and one button."""

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from unfold.widgets import UnfoldAdminTextInputWidget

from budgets.controls import mitigations, permitting
from budgets.models import FeatureControl
from opslog.admin.acts import ReasonForm, submitted
from opslog.admin.base import page_of
from opslog.exceptions import NotAllowedNow, Rejected
from opslog.incidents.detecting import headline
from opslog.models import Mitigation


def mitigation_page(request: HttpRequest, mitigation_id: int) -> HttpResponse:
    """Only for people who may change that control on its own page."""
    mitigation = get_object_or_404(
        Mitigation.objects.select_related("incident", "incident__owner"), pk=mitigation_id
    )
    person: Any = request.user
    if not person.has_perm("opslog.view_incident") or not permitting.may_apply(mitigation, person):
        raise PermissionDenied
    back = reverse("admin:opslog_incident_change", args=[mitigation.incident_id])
    try:
        _may_still(mitigation)
        plan = mitigations.plan(mitigation)
    except Rejected as error:
        messages.warning(request, str(error))
        return HttpResponseRedirect(back)
    form = _form(mitigation, plan, request.POST if request.method == "POST" else None)

    def apply(values: dict[str, Any]) -> tuple[mitigations.Applied, str]:
        outcome = mitigations.apply(
            mitigation.pk, values, reason=values.pop("reason"), by=person, now=timezone.now()
        )
        if outcome.applied:
            return outcome, f"Applied, and recorded on the incident. {outcome.text}"
        messages.warning(request, f"Not applied: it waits for approval. {outcome.text}")
        return outcome, ""

    if submitted(request, form, apply):
        return HttpResponseRedirect(back)
    return page_of(
        request,
        "tollgate/act.html",
        title=mitigation.label,
        form=form,
        verb=plan.verb,
        effects=plan.effects,
        danger=plan.danger,
        back=back,
    )


def _may_still(mitigation: Mitigation) -> None:
    """Said before anything is typed; it is judged again under the lock."""
    if not mitigation.incident.is_active:
        raise NotAllowedNow(f"This incident is {mitigation.incident.state}: nothing is applied.")
    if mitigation.state != Mitigation.State.PROPOSED:
        raise NotAllowedNow(f"“{mitigation.label}” is {mitigation.state} already.")


def _form(mitigation: Mitigation, plan: mitigations.Plan, data: Any) -> forms.Form:
    """The reason, and the values that may be typed over: all prefilled."""
    why = f"{mitigation.incident}: {headline(mitigation.incident)}"
    form = ReasonForm(data, initial={"reason": why[:500]})
    for name, value in plan.values.items():
        if isinstance(value, bool):
            continue
        if mitigations.is_of_feature(mitigation):
            field: Any = FeatureControl._meta.get_field(name).formfield()  # type: ignore[union-attr]
        else:
            field = forms.DecimalField(label="US dollars a day", min_value=0, decimal_places=2)
        if not isinstance(field.widget, forms.Select):
            field.widget = UnfoldAdminTextInputWidget()
            field.initial = value
            field.required, field.help_text = True, ""
            form.fields[name] = field
    form.order_fields([*(name for name in form.fields if name != "reason"), "reason"])
    return form
