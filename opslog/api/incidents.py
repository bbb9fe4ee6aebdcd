"""Reading incidents: what burns, why, and what was done about it."""

from datetime import date
from typing import Annotated, Any, Self

import django_filters
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema_view
from msgspec import Meta, field
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from opslog.api.answers import Answer, Moment, Usd
from opslog.api.filters import ChoiceFilter, MomentFilter
from opslog.api.pagination import Pages
from opslog.api.schema import NOT_FOUND, operation
from opslog.incidents.detecting import headline
from opslog.models import Incident as Row
from opslog.models import IncidentEntry, Mitigation
from opslog.models.incidents import IncidentCause, IncidentState, MitigationLever


class Entry(Answer):
    at: Moment
    kind: IncidentEntry.Kind
    text: str
    actor: str


class Proposal(Answer):
    id: int
    lever: MitigationLever
    label: str
    why: str
    saving_usd_per_hour: Usd
    feature: str
    target: str
    values: dict[str, Any]
    state: Mitigation.State
    applied_at: Moment | None
    applied_by: str
    automatic: bool
    until: Moment | None


class Incident(Answer):
    id: int
    headline: str
    state: IncidentState
    severity: Row.Severity
    owner: str
    cause: IncidentCause
    confidence: float
    feature: str
    tool: str
    traffic: Annotated[str, Meta(description="bot, abuse or campaign.")]
    started_at: Moment
    detected_at: Moment
    judged_until: Moment
    stabilised_at: Moment | None
    reviewed_at: Moment | None
    cost_usd_per_hour: Usd = field(name="usdPerHour")
    baseline_usd_per_hour: Usd
    excess_usd_of_all_phases: Usd = field(name="excessUsd")
    escalation: int
    reopenings: Annotated[int, Meta(description="Active again after it was closed.")]

    @classmethod
    def of(cls, source: Any, **computed: Any) -> Self:
        owner = source.owner.get_username() if source.owner else ""
        return super().of(source, headline=headline(source), owner=owner, **computed)


# Lists as they are kept: amounts and moments are text, and names in the order of jsonb.
class Contribution(Answer):
    name: str
    label: str
    usd_per_hour: str


class RankedCause(Answer):
    tool: str
    cause: str
    share: float
    feature: str


class Figure(Answer):
    after: str
    label: str
    before: str


class Evidence(Answer):
    sql: str
    step: str
    text: str
    figures: list[Figure]


class Marker(Answer):
    at: str
    kind: str
    what: str
    feature: str


class Phase(Answer):
    ended_at: str
    severity: str
    excess_usd: str
    started_at: str
    escalation: int
    usd_per_hour: str
    baseline_usd_per_hour: str


class WholeIncident(Incident):
    sentences: list[str]
    contributions: list[Contribution]
    ranked_causes: list[RankedCause]
    evidence: list[Evidence]
    changes: list[Marker]
    earlier: list[Phase] = field(name="earlierPhases")
    mitigations: list[Proposal]
    entries: list[Entry] = field(name="timeline")
    root_cause: str
    mitigation: str
    alert_created: bool | None
    follow_up_on: date | None

    @classmethod
    def of(cls, source: Any, **computed: Any) -> Self:
        entries, proposals = source.entries.all(), source.mitigations.all()
        return super().of(source, entries=list(entries), mitigations=list(proposals))


class IncidentFilter(django_filters.FilterSet):
    state = ChoiceFilter(choices=Row.State)
    severity = ChoiceFilter(choices=Row.Severity)
    cause = ChoiceFilter(choices=Row.Cause)
    feature = django_filters.CharFilter(max_length=200)
    since = MomentFilter(field_name="started_at", lookup_expr="gte")
    until = MomentFilter(field_name="started_at", lookup_expr="lt")


def visible(request: Any) -> "QuerySet[Row]":
    """Incidents are about what all share: a token that is limited to work orders sees none."""
    incidents = Row.objects.select_related("owner")
    return incidents.none() if request.auth.work_orders else incidents


@extend_schema_view(
    get=operation(
        "incidents_list",
        "Cost spikes and what became of them, newest first",
        tag="reading",
        answers={200: ("A page.", Incident)},
    )
)
class IncidentList(Pages):
    required_scope = "read"
    answer = Incident
    filterset_class = IncidentFilter
    queryset = Row.objects.none()

    def get_queryset(self) -> "QuerySet[Row]":
        return visible(self.request)


class IncidentDetail(APIView):
    required_scope = "read"

    @operation(
        "incidents_retrieve",
        "One incident, with evidence, proposals and timeline",
        tag="reading",
        answers={200: ("The incident.", WholeIncident)},
        errors=NOT_FOUND,
    )
    def get(self, request: Request, incident_id: int) -> Response:
        incidents = visible(request).prefetch_related("mitigations", "entries")
        return Response(WholeIncident.of(get_object_or_404(incidents, pk=incident_id)))
