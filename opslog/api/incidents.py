"""Reading incidents: what burns, why, and what was done about it."""

from typing import Any

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers

from opslog.api.filters import ChoiceFilter, KnownFiltersOnly, MomentFilter
from opslog.api.pagination import KeysetPagination
from opslog.api.schema import COMMON, DENIAL, NOT_FOUND, record
from opslog.incidents.detecting import headline
from opslog.models import Incident, IncidentEntry, Mitigation
from opslog.pricing.money import usd_text

TEXT = {"type": "string"}
USD = {"type": "string", "example": "12.40"}


class NewestIncidentsFirst(KeysetPagination):
    ordering = "-id"


@extend_schema_field(USD)
class Dollars(serializers.Field):  # type: ignore[type-arg]  # read only: no input type
    def to_representation(self, value: Any) -> str:
        return usd_text(value)


class EntrySerializer(serializers.ModelSerializer[IncidentEntry]):
    class Meta:
        model = IncidentEntry
        fields = ("at", "kind", "text", "actor")


class MitigationSerializer(serializers.ModelSerializer[Mitigation]):
    savingUsdPerHour = Dollars(source="saving_usd_per_hour")
    appliedAt = serializers.DateTimeField(source="applied_at", allow_null=True)
    appliedBy = serializers.CharField(source="applied_by")
    values = serializers.SerializerMethodField()
    # (As text: the schema would give two lists of states one name.)
    state = serializers.CharField()

    class Meta:
        model = Mitigation
        fields = (
            "id", "lever", "label", "why", "savingUsdPerHour", "feature", "target", "values",
            "state", "appliedAt", "appliedBy", "automatic", "until",
        )  # fmt: skip

    @extend_schema_field({"type": "object", "additionalProperties": True})
    def get_values(self, mitigation: Mitigation) -> Any:
        return mitigation.values


class IncidentSerializer(serializers.ModelSerializer[Incident]):
    headline = serializers.SerializerMethodField()
    owner = serializers.SerializerMethodField()
    startedAt = serializers.DateTimeField(source="started_at")
    detectedAt = serializers.DateTimeField(source="detected_at")
    judgedUntil = serializers.DateTimeField(source="judged_until")
    stabilisedAt = serializers.DateTimeField(source="stabilised_at", allow_null=True)
    reviewedAt = serializers.DateTimeField(source="reviewed_at", allow_null=True)
    confidence = serializers.FloatField()
    usdPerHour = Dollars(source="cost_usd_per_hour")
    baselineUsdPerHour = Dollars(source="baseline_usd_per_hour")
    excessUsd = Dollars(source="excess_usd_of_all_phases")

    class Meta:
        model = Incident
        fields: tuple[str, ...] = (
            "id", "headline", "state", "severity", "owner", "cause", "confidence", "feature",
            "tool", "traffic", "startedAt", "detectedAt", "judgedUntil", "stabilisedAt",
            "reviewedAt", "usdPerHour", "baselineUsdPerHour", "excessUsd", "escalation",
            "reopenings",
        )  # fmt: skip

    def get_headline(self, incident: Incident) -> str:
        return headline(incident)

    @extend_schema_field(TEXT)
    def get_owner(self, incident: Incident) -> str:
        return incident.owner.get_username() if incident.owner else ""


LISTS = {
    "contributions": record(name=TEXT, label=TEXT, usdPerHour=TEXT),
    "rankedCauses": record(cause=TEXT, share={"type": "number"}, feature=TEXT, tool=TEXT),
    "evidence": record(
        step=TEXT,
        text=TEXT,
        sql=TEXT,
        figures={"type": "array", "items": record(label=TEXT, before=TEXT, after=TEXT)},
    ),
    "changes": record(at=TEXT, kind=TEXT, what=TEXT, feature=TEXT),
    "earlier": record(
        startedAt=TEXT,
        endedAt=TEXT,
        severity=TEXT,
        escalation={"type": "integer"},
        usdPerHour=TEXT,
        baselineUsdPerHour=TEXT,
        excessUsd=TEXT,
    ),
}


def told(items: dict[str, Any], **kwargs: Any) -> Any:
    """A list as it is kept. (A class of its own: the schema is noted on the class.)"""

    class Told(serializers.JSONField):
        pass

    field = extend_schema_field({"type": "array", "items": items})(Told)
    return field(read_only=True, **kwargs)


class WholeIncidentSerializer(IncidentSerializer):
    sentences = told(TEXT)
    contributions = told(LISTS["contributions"])
    rankedCauses = told(LISTS["rankedCauses"], source="ranked_causes")
    evidence = told(LISTS["evidence"])
    changes = told(LISTS["changes"])
    earlierPhases = told(LISTS["earlier"], source="earlier")
    mitigations = MitigationSerializer(many=True)
    timeline = EntrySerializer(source="entries", many=True)
    rootCause = serializers.CharField(source="root_cause")
    mitigation = serializers.CharField()
    alertCreated = serializers.BooleanField(source="alert_created", allow_null=True)
    followUpOn = serializers.DateField(source="follow_up_on", allow_null=True)

    class Meta(IncidentSerializer.Meta):
        fields = (
            *IncidentSerializer.Meta.fields, "sentences", "contributions", "rankedCauses",
            "evidence", "changes", "earlierPhases", "mitigations", "timeline",
            "rootCause", "mitigation", "alertCreated", "followUpOn",
        )  # fmt: skip


class IncidentFilter(django_filters.FilterSet):
    state = ChoiceFilter(choices=Incident.State)
    severity = ChoiceFilter(choices=Incident.Severity)
    cause = ChoiceFilter(choices=Incident.Cause)
    feature = django_filters.CharFilter(max_length=200)
    since = MomentFilter(field_name="started_at", lookup_expr="gte")
    until = MomentFilter(field_name="started_at", lookup_expr="lt")

    class Meta:
        model = Incident
        fields: list[str] = []


def visible(request: Any) -> "QuerySet[Incident]":
    """Incidents are about what all share: a token that is limited to work orders sees none."""
    found = Incident.objects.select_related("owner")
    return found.none() if request.auth.work_orders else found


class IncidentList(generics.ListAPIView[Incident]):
    required_scope = "read"
    serializer_class = IncidentSerializer
    pagination_class = NewestIncidentsFirst
    filter_backends = (KnownFiltersOnly,)
    filterset_class = IncidentFilter
    queryset = Incident.objects.none()

    def get_queryset(self) -> "QuerySet[Incident]":
        return visible(self.request)

    @extend_schema(
        operation_id="incidents_list",
        summary="Cost spikes and what became of them, newest first",
        tags=["reading"],
        parameters=[DENIAL],
        responses={200: IncidentSerializer(many=True), **COMMON},
    )
    def get(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return super().get(request, *args, **kwargs)


class IncidentDetail(generics.RetrieveAPIView[Incident]):
    required_scope = "read"
    serializer_class = WholeIncidentSerializer
    queryset = Incident.objects.none()
    lookup_url_kwarg = "incident_id"

    def get_queryset(self) -> "QuerySet[Incident]":
        return visible(self.request).prefetch_related("mitigations", "entries")

    @extend_schema(
        operation_id="incidents_retrieve",
        summary="One incident, with evidence, proposals and timeline",
        tags=["reading"],
        parameters=[DENIAL],
        responses={200: WholeIncidentSerializer, **COMMON, **NOT_FOUND},
    )
    def get(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return super().get(request, *args, **kwargs)
