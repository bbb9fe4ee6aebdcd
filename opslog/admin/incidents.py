"""The incidents: what burns now and why, what would stop it, what was done, and the review."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.db.models import Case, When
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from opslog import jobs
from opslog.admin.acts import Act, ReasonForm, StaffRequest, SureForm, Themed, asked
from opslog.admin.base import PageAdmin, badge, choice_filter, column
from opslog.incidents import (
    costs,
    handling,
    levers,
    mitigating,
    reviewing,
    watching,
)
from opslog.incidents.detecting import headline
from opslog.incidents.finding import Contribution, kept
from opslog.incidents.notices import ADVICE
from opslog.incidents.postmortem import STEP_TITLES, earlier, markdown
from opslog.incidents.rules import is_normal
from opslog.models import Incident, IncidentEntry, Mitigation
from opslog.pages.charts import Chart, Series, of_series, waterfall
from opslog.pages.figures import figure
from opslog.telemetry import change_markers
from opslog.templatetags.tollgate import ago

HANDLE = "opslog.handle_incident"
TRIAGE = "opslog.tasks.run_triage"
APPLY = "incident-mitigation"  # the page of the floor above that changes the control
BEFORE, AFTER, MOST = timedelta(hours=24), timedelta(hours=6), timedelta(hours=96)


class SeverityForm(ReasonForm):
    severity = forms.ChoiceField(
        choices=Incident.Severity.choices, help_text="The triage leaves it alone then."
    )
    field_order = ("severity", "reason")


class CauseForm(ReasonForm):
    cause = forms.ChoiceField(
        choices=Incident.Cause.choices, help_text="Later verdicts leave it alone then."
    )
    field_order = ("cause", "reason")


class DismissForm(ReasonForm):
    mitigation = forms.ChoiceField(label="Proposal")
    field_order = ("mitigation", "reason")

    def __init__(self, *args: Any, incident: Incident, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        proposed = incident.mitigations.filter(state=Mitigation.State.PROPOSED)
        choices = [(each.pk, each.label) for each in proposed]
        self.fields["mitigation"].choices = choices  # type: ignore[attr-defined]


class ReviewForm(Themed, forms.Form):
    """The runbook's last step. Nothing is answered beforehand, but by an earlier review."""

    root_cause = forms.CharField(max_length=2000, widget=forms.Textarea(attrs={"rows": 3}))
    mitigation = forms.CharField(
        label="Mitigation applied",
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    alert_created = forms.ChoiceField(
        label="Alert created for this condition?",
        choices=(("yes", "Yes"), ("no", "No")),
        widget=forms.RadioSelect,
        help_text="“Create alert rule” on the incident’s page makes one.",
    )
    follow_up_on = forms.DateField(
        label="Follow-up on",
        widget=forms.TextInput(attrs={"type": "date"}),
        help_text="On that day (UTC) the owner is reminded to see whether it is really gone.",
    )

    def clean_alert_created(self) -> bool:
        return bool(self.cleaned_data["alert_created"] == "yes")


OPEN = choice_filter(
    "open",
    "open",
    {
        "yes": ("not reviewed", lambda _, rows: rows.exclude(state=Incident.State.REVIEWED)),
        "no": ("reviewed", lambda _, rows: rows.filter(state=Incident.State.REVIEWED)),
    },
)


def by_name(call: Callable[..., Any], *positional: str) -> Any:
    """A function of the domain that takes the incident's id, these values, the others by name, who
    did it and when."""

    def perform(request: StaffRequest, incident: Incident, values: dict[str, Any]) -> None:
        first = [values.pop(name) for name in positional]
        call(incident.pk, *first, **values, by=request.user.username, now=timezone.now())

    return perform


def next_level(incident: Incident) -> int:
    return min(incident.escalation + 1, handling.HIGHEST_LEVEL)


@admin.register(Incident)
class IncidentAdmin(PageAdmin):
    list_display = ("what", "shown_state", "graveness", "place", "pace", "age", "owned_by")
    list_display_links = ("what",)
    list_filter = (OPEN, "severity", "cause")
    list_select_related = ("owner",)
    list_before_template = "tollgate/incidents_note.html"
    search_fields = ("feature", "tool")
    ordering = (
        Case(When(state="reviewed", then=2), When(state="stabilised", then=1), default=0).asc(),
        "-id",
    )
    page_template = "tollgate/incident.html"
    views = ("export",)
    list_views = ("run-triage",)
    acts = {
        "take": Act(
            title="Take ownership: {}",
            permission=HANDLE,
            form=SureForm,
            effects=("You are notified of what becomes of it, and reminded of its follow-up.",),
            verb="I own it",
            perform=lambda request, incident, _: handling.take(
                incident.pk, by=request.user, now=timezone.now()
            ),
            done="You own it.",
        ),
        "severity": Act(
            title="Change the severity: {}",
            permission=HANDLE,
            form=SeverityForm,
            initial=("severity",),
            verb="Set it",
            perform=by_name(handling.set_severity, "severity"),
            done="The severity is set.",
        ),
        "cause": Act(
            title="Name another cause: {}",
            permission=HANDLE,
            form=CauseForm,
            initial=("cause",),
            verb="Set it",
            perform=by_name(handling.set_cause, "cause"),
            done="The cause is set.",
        ),
        "note": Act(
            title="Write into the timeline: {}",
            permission=HANDLE,
            verb="Write it",
            perform=by_name(handling.note, "reason"),
            done="It is written.",
        ),
        "escalate": Act(
            title=lambda _, incident: f"Escalate to level {next_level(incident)}: {incident}",
            permission=HANDLE,
            effects=lambda _, incident: (ADVICE[next_level(incident)],),
            danger=True,
            verb="Escalate it",
            perform=lambda request, incident, values: handling.escalate(
                incident.pk,
                next_level(incident),
                **values,
                by=request.user.username,
                now=timezone.now(),
            ),
            done="They are notified.",
        ),
        "dismiss": Act(
            title="Dismiss a proposal: {}",
            permission=HANDLE,
            form=DismissForm,
            form_kwargs=lambda request, incident: {
                "incident": incident,
                **asked(request, "mitigation"),
            },
            effects=("It is not proposed again for this incident.",),
            verb="Dismiss it",
            perform=lambda request, _, values: mitigating.dismiss(
                int(values["mitigation"]),
                reason=values["reason"],
                by=request.user.username,
                now=timezone.now(),
            ),
            done="It is dismissed.",
        ),
        "stabilise": Act(
            title="Mark as stabilized: {}",
            permission=HANDLE,
            effects=(
                "The job does this by itself once its checks pass.",
                "If the next whole hour still costs more than normal, the incident reopens.",
                "If the cost goes up again within a day, it is a relapse of this incident.",
            ),
            verb="Mark as stabilized",
            perform=by_name(watching.stabilise),
            done="Marked as stabilized. It needs a review.",
        ),
        "review": Act(
            title="Review: {}",
            permission="opslog.review_incident",
            form=ReviewForm,
            form_kwargs=lambda _, incident: {
                "initial": {
                    "root_cause": incident.root_cause,
                    "mitigation": incident.mitigation
                    or "; ".join(
                        each.summary for each in incident.mitigations.filter(state="applied")
                    ),
                }
            },
            effects=(
                "A review cannot be edited.",
                "If the cost has not come down by the next whole hour, the incident reopens.",
            ),
            verb="Close the incident",
            perform=by_name(reviewing.review),
            done="It is reviewed and closed.",
        ),
    }

    def list_context(self, request: StaffRequest) -> dict[str, Any]:
        return {"may_run": request.user.has_perm("opslog.run_triage")}

    def run_triage(self, request: HttpRequest) -> HttpResponseBase:
        """Has the job run; what it finds appears in the list."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm("opslog.run_triage"):
            raise PermissionDenied
        jobs.enqueue(TRIAGE)
        messages.success(request, "The triage runs now; what it finds is in this list in a minute.")
        return HttpResponseRedirect(reverse("admin:opslog_incident_changelist"))

    def page(self, request: StaffRequest, obj: Any) -> dict[str, Any]:
        now = timezone.now()
        proposals = list(obj.mitigations.all())
        return {
            "incident": obj,
            "title": f"{obj}: {obj.get_cause_display()}",
            "headline": headline(obj),
            "chart": chart_of(obj, now),
            "bars": waterfall(
                [(each.label, each.usd_per_hour) for each in kept(obj.contributions, Contribution)]
            ),
            "named": named_cause(obj),
            "proposals": [each for each in proposals if each.state == "proposed"],
            "settled": [each for each in proposals if each.state in ("applied", "dismissed")],
            "apply": APPLY,
            "appliable": {each.pk for each in proposals if levers.may_apply(each, request.user)},
            "evidence": evidence_of(obj),
            "checks": watching.check(obj, now) if obj.is_active else [],
            "entries": list(obj.entries.all()),
            "ranked": [
                {**each, "label": Incident.Cause(each["cause"]).label}
                for each in obj.ranked_causes[:5]
            ],
            "earlier": [earlier(phase) for phase in obj.earlier],
            "advice": ADVICE.get(obj.escalation, ""),
        }

    def export(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        incident = self.row(request, object_id)
        text = markdown(incident, incident.entries.all(), incident.mitigations.all())
        answer = HttpResponse(text, content_type="text/markdown; charset=utf-8")
        answer["Content-Disposition"] = f'attachment; filename="incident-{incident.pk}.md"'
        return answer

    what = column("incident", lambda incident: f"#{incident.pk} {incident.get_cause_display()}")
    shown_state = column("state", lambda incident: badge(incident.state))
    graveness = column("severity", lambda incident: badge(incident.severity))

    @display(description="where")
    def place(self, incident: Incident) -> str:
        return (
            " / ".join(part for part in (incident.feature, incident.tool) if part) or "everywhere"
        )

    @display(description="above normal")
    def pace(self, incident: Incident) -> str:
        excess = incident.excess_usd_per_hour
        shown = figure("incidents.excess_usd_per_hour", excess, f"${excess:,.2f}/h")
        return format_html('<span data-of="{}">{}</span>', incident.pk, shown)

    @display(description="since (UTC)")
    def age(self, incident: Incident) -> str:
        return f"{incident.started_at:%Y-%m-%d %H:%M}, {ago(incident.started_at)}"

    @display(description="owner")
    def owned_by(self, incident: Incident) -> str:
        return incident.owner.get_username() if incident.owner else "nobody"


def named_cause(incident: Incident) -> IncidentEntry | None:
    """Who set the cause, where a person did."""
    if not incident.cause_by_hand:
        return None
    return incident.entries.filter(kind=IncidentEntry.Kind.CAUSE).last()


def evidence_of(incident: Incident) -> list[dict[str, Any]]:
    return [{**each, "title": STEP_TITLES[each["step"]]} for each in incident.evidence]


def chart_of(incident: Incident, now: datetime) -> Chart:
    """A day before the spike until six hours after it was stable, of everything; with all that was
    changed meanwhile, not only what the triage names."""
    until = costs.whole_hour(now)
    if incident.stabilised_at:
        until = min(until, costs.whole_hour(incident.stabilised_at) + AFTER)
    begins = costs.whole_hour(incident.started_at)
    until = max(until, begins + costs.HOUR)
    since = max(costs.whole_hour(incident.first_started_at) - BEFORE, until - MOST)
    hours = costs.of(incident, since, until)
    return of_series(
        [hour.at for hour in hours],
        [
            Series("cost", [hour.usd for hour in hours]),
            Series("normal for that hour", [hour.baseline_usd for hour in hours], "step"),
        ],
        unit="usd",
        markers=change_markers.for_chart(since, until),
        starts=[(incident.started_at, "the spike begins")],
        over=[hour.at >= begins and not is_normal(hour) for hour in hours],
    )
