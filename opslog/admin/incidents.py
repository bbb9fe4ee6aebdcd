"""The incidents: what burns now and why, what would stop it, what was done, and the review."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.db.models import Case, QuerySet, When
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.widgets import (
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from opslog import jobs
from opslog.admin.base import PageAdmin, ReasonForm, SureForm, badge
from opslog.exceptions import NotAllowedNow
from opslog.incidents import (
    charting,
    costs,
    handling,
    levers,
    mitigating,
    proposing,
    queries,
    reviewing,
    watching,
)
from opslog.incidents.detecting import headline
from opslog.incidents.notices import ADVICE
from opslog.incidents.postmortem import STEP_TITLES, earlier, markdown
from opslog.models import Incident, IncidentEntry, Mitigation
from opslog.pages.charts import Chart
from opslog.pages.figures import figure
from opslog.telemetry import change_markers
from opslog.templatetags.tollgate import ago

TRIAGE = "opslog.tasks.run_triage"
APPLY = "incident-mitigation"  # the page of the floor above that changes the control
BEFORE, AFTER, MOST = timedelta(hours=24), timedelta(hours=6), timedelta(hours=96)


def choice(choices: Any, label: str, help_text: str = "") -> Any:
    return forms.ChoiceField(
        choices=choices, label=label, help_text=help_text, widget=UnfoldAdminSelectWidget()
    )


class SeverityForm(ReasonForm):
    severity = choice(Incident.Severity.choices, "Severity", "The triage leaves it alone then.")
    field_order = ("severity", "reason")


class CauseForm(ReasonForm):
    cause = choice(Incident.Cause.choices, "Cause", "Later verdicts leave it alone then.")
    field_order = ("cause", "reason")


class DismissForm(ReasonForm):
    mitigation = choice((), "Proposal")
    field_order = ("mitigation", "reason")


class ReviewForm(forms.Form):
    """The runbook's last step. Nothing is answered beforehand, but by an earlier review."""

    root_cause = forms.CharField(
        max_length=2000, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3})
    )
    mitigation = forms.CharField(
        label="Mitigation applied",
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
    )
    alert_created = forms.ChoiceField(
        label="Alert created for this condition?",
        choices=(("yes", "Yes"), ("no", "No")),
        widget=UnfoldAdminRadioSelectWidget(),
        help_text="“Create alert rule” on the incident’s page makes one.",
    )
    follow_up_on = forms.DateField(
        label="Follow-up on",
        widget=UnfoldAdminTextInputWidget(attrs={"type": "date"}),
        help_text="On that day (UTC) the owner is reminded to see whether it is really gone.",
    )


class OpenFilter(admin.SimpleListFilter):
    title = "open"
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "not reviewed"), ("no", "reviewed")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Incident]") -> Any:
        if self.value() == "yes":
            return queryset.exclude(state=Incident.State.REVIEWED)
        return queryset.filter(state=Incident.State.REVIEWED) if self.value() == "no" else queryset


@admin.register(Incident)
class IncidentAdmin(PageAdmin):
    list_display = ("what", "shown_state", "graveness", "place", "pace", "age", "owned_by")
    list_display_links = ("what",)
    list_filter = (OpenFilter, "severity", "cause")
    list_select_related = ("owner",)
    list_before_template = "tollgate/incidents_note.html"
    search_fields = ("feature", "tool")
    ordering = (
        Case(When(state="reviewed", then=2), When(state="stabilised", then=1), default=0).asc(),
        "-id",
    )
    sortable_by = ()
    page_template = "tollgate/incident.html"
    acts = {
        "take": "take",
        "severity": "severity",
        "cause": "cause",
        "note": "note",
        "escalate": "escalate",
        "dismiss": "dismiss",
        "stabilise": "stabilise",
        "review": "review",
        "export": "export",
    }

    def get_urls(self) -> list[URLPattern]:
        run = self.admin_site.admin_view(self.run_triage)
        return [path("run-triage/", run, name="opslog_incident_run_triage"), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        extra = {**(extra_context or {}), "may_run": request.user.has_perm("opslog.run_triage")}
        return super().changelist_view(request, extra)  # type: ignore[no-any-return]

    def run_triage(self, request: HttpRequest) -> HttpResponseBase:
        """Has the job run; what it finds appears in the list."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm("opslog.run_triage"):
            raise PermissionDenied
        jobs.enqueue(TRIAGE)
        messages.success(request, "The triage runs now; what it finds is in this list in a minute.")
        return HttpResponseRedirect(reverse("admin:opslog_incident_changelist"))

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        now = timezone.now()
        proposals = list(obj.mitigations.all())
        return {
            "incident": obj,
            "title": f"{obj}: {obj.get_cause_display()}",
            "headline": headline(obj),
            "chart": chart_of(obj, now),
            "bars": charting.bars(proposing.contributions_of(obj)),
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
            "may": request.user.has_perm("opslog.handle_incident"),
            "may_review": request.user.has_perm("opslog.review_incident"),
        }

    def take(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        user: Any = request.user
        return self._act(
            request, object_id, form=SureForm, verb="I own it", title="Take ownership",
            effects=("You are told what becomes of it, and reminded of its follow-up.",),
            perform=lambda pk, said, now: handling.take(pk, by=user, now=now),
            done="You own it.",
        )  # fmt: skip

    def severity(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        return self._act(
            request, object_id, form=SeverityForm, verb="Set it", title="Change the severity",
            initial=lambda incident: {"severity": incident.severity},
            perform=lambda pk, said, now: handling.set_severity(
                pk, said["severity"], reason=said["reason"], by=name(request), now=now
            ),
            done="The severity is set.",
        )  # fmt: skip

    def cause(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        return self._act(
            request, object_id, form=CauseForm, verb="Set it", title="Name another cause",
            initial=lambda incident: {"cause": incident.cause},
            perform=lambda pk, said, now: handling.set_cause(
                pk, said["cause"], reason=said["reason"], by=name(request), now=now
            ),
            done="The cause is set.",
        )  # fmt: skip

    def note(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        return self._act(
            request, object_id, form=ReasonForm, verb="Write it", title="Write into the timeline",
            perform=lambda pk, said, now: handling.note(
                pk, said["reason"], by=name(request), now=now
            ),
            done="It is written.",
        )  # fmt: skip

    def escalate(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        level = min(self.thing(request, object_id).escalation + 1, handling.HIGHEST_LEVEL)
        return self._act(
            request, object_id, form=ReasonForm, verb="Escalate it", danger=True,
            title=f"Escalate to level {level}", effects=(ADVICE[level],),
            perform=lambda pk, said, now: handling.escalate(
                pk, level, reason=said["reason"], by=name(request), now=now
            ),
            done="They are notified.",
        )  # fmt: skip

    def dismiss(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        incident = self.thing(request, object_id)
        proposed = incident.mitigations.filter(state=Mitigation.State.PROPOSED)

        def form(data: Any = None, initial: Any = None) -> DismissForm:
            made = DismissForm(data, initial={"mitigation": request.GET.get("mitigation", "")})
            made.fields["mitigation"].choices = [(each.pk, each.label) for each in proposed]  # type: ignore[attr-defined]
            return made

        return self._act(
            request, object_id, form=form, verb="Dismiss it", title="Dismiss a proposal",
            effects=("It is not proposed again for this incident.",),
            perform=lambda pk, said, now: mitigating.dismiss(
                int(said["mitigation"]), reason=said["reason"], by=name(request), now=now
            ),
            done="It is dismissed.",
        )  # fmt: skip

    def stabilise(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        return self._act(
            request, object_id, form=ReasonForm, verb="Mark as stabilized",
            title="Mark as stabilized",
            effects=(
                "The job does this by itself once its checks pass.",
                "If the next whole hour still costs more than normal, the incident reopens.",
                "If the cost goes up again within a day, it is a relapse of this incident.",
            ),
            perform=lambda pk, said, now: watching.stabilise(
                pk, reason=said["reason"], by=name(request), now=now
            ),
            done="Marked as stabilized. It needs a review.",
        )  # fmt: skip

    def review(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        applied = self.thing(request, object_id).mitigations.filter(state="applied")
        return self._act(
            request, object_id, form=ReviewForm, verb="Close the incident", title="Review",
            permission="opslog.review_incident",
            initial=lambda incident: {
                "root_cause": incident.root_cause,
                "mitigation": incident.mitigation or "; ".join(each.told for each in applied),
            },
            effects=(
                "A review cannot be edited.",
                "If the cost has not come down by the next whole hour, the incident reopens.",
            ),
            perform=lambda pk, said, now: reviewing.review(
                pk,
                root_cause=said["root_cause"],
                mitigation=said["mitigation"],
                alert_created=said["alert_created"] == "yes",
                follow_up_on=said["follow_up_on"],
                by=name(request),
                now=now,
            ),
            done="It is reviewed and closed.",
        )  # fmt: skip

    def export(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        incident = self.thing(request, object_id)
        text = markdown(incident, incident.entries.all(), incident.mitigations.all())
        answer = HttpResponse(text, content_type="text/markdown; charset=utf-8")
        answer["Content-Disposition"] = f'attachment; filename="incident-{incident.pk}.md"'
        return answer

    def _act(
        self,
        request: HttpRequest,
        object_id: str,
        *,
        form: Callable[..., forms.Form],
        perform: Callable[[int, dict[str, Any], datetime], Any],
        title: str,
        verb: str,
        done: str,
        effects: tuple[str, ...] = (),
        danger: bool = False,
        permission: str = "opslog.handle_incident",
        initial: Callable[[Incident], dict[str, Any]] = lambda incident: {},
    ) -> HttpResponseBase:
        if not request.user.has_perm(permission):
            raise PermissionDenied
        incident = self.thing(request, object_id)

        def done_it(said: dict[str, Any]) -> str:
            perform(incident.pk, said, timezone.now())
            return done

        return self.act(
            request, incident,
            form=lambda data=None: form(data, initial=initial(incident)),
            perform=done_it, refusals=(NotAllowedNow,), title=f"{title}: {incident}", verb=verb,
            effects=effects, danger=danger,
        )  # fmt: skip

    @display(description="incident")
    def what(self, incident: Incident) -> str:
        return f"#{incident.pk} {incident.get_cause_display()}"

    @display(description="state")
    def shown_state(self, incident: Incident) -> str:
        return badge(incident.state)

    @display(description="severity")
    def graveness(self, incident: Incident) -> str:
        return badge(incident.severity)

    @display(description="where")
    def place(self, incident: Incident) -> str:
        return (
            " / ".join(part for part in (incident.feature, incident.tool) if part) or "everywhere"
        )

    @display(description="above normal")
    def pace(self, incident: Incident) -> str:
        excess = incident.excess_usd_per_hour
        told = figure("incidents.excess_usd_per_hour", excess, f"${excess:,.2f}/h")
        return format_html('<span data-of="{}">{}</span>', incident.pk, told)

    @display(description="since (UTC)")
    def age(self, incident: Incident) -> str:
        return f"{incident.started_at:%Y-%m-%d %H:%M}, {ago(incident.started_at)}"

    @display(description="owner")
    def owned_by(self, incident: Incident) -> str:
        return incident.owner.get_username() if incident.owner else "nobody"


def name(request: HttpRequest) -> str:
    return request.user.get_username()


def named_cause(incident: Incident) -> IncidentEntry | None:
    """Who said which cause it is, where a person did."""
    if not incident.cause_by_hand:
        return None
    return incident.entries.filter(kind=IncidentEntry.Kind.CAUSE).last()


def evidence_of(incident: Incident) -> list[dict[str, Any]]:
    """Each step with its title and the query behind its figures."""
    sql = queries.of(incident.started_at, incident.judged_until, incident.feature or None)
    return [
        {
            **each,
            "title": STEP_TITLES.get(each["step"], each["step"]),
            "sql": each["sql"] or sql.get(each["step"], ""),
        }
        for each in incident.evidence
    ]


def chart_of(incident: Incident, now: datetime) -> Chart:
    """A day before the spike until six hours after it was stable, of everything; with all that was
    changed meanwhile, not only what the triage names."""
    until = costs.whole_hour(now)
    if incident.stabilised_at:
        until = min(until, costs.whole_hour(incident.stabilised_at) + AFTER)
    begins = costs.whole_hour(incident.started_at)
    until = max(until, begins + costs.HOUR)
    since = max(costs.whole_hour(incident.first_started_at) - BEFORE, until - MOST)
    return charting.chart(
        costs.of(incident, since, until),
        started_at=incident.started_at,
        changes=change_markers.for_chart(since, until),
    )
