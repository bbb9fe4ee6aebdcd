"""Reading the event log."""

from typing import Any

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers

from opslog.api.filters import KnownFiltersOnly, MomentFilter
from opslog.api.pagination import NewestEventsFirst
from opslog.api.schema import COMMON, DENIAL
from opslog.models import OperationsEvent


class EventFilter(django_filters.FilterSet):
    kind = django_filters.CharFilter(max_length=64)
    actor = django_filters.CharFilter(max_length=200)
    ownerType = django_filters.CharFilter(field_name="owner_type", max_length=64)
    ownerId = django_filters.CharFilter(field_name="owner_id", max_length=200)
    workOrder = django_filters.CharFilter(method="of_work_order", max_length=100)
    since = MomentFilter(field_name="created_at", lookup_expr="gte")
    until = MomentFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = OperationsEvent
        fields: list[str] = []

    def of_work_order(
        self, queryset: QuerySet[OperationsEvent], name: str, value: str
    ) -> QuerySet[OperationsEvent]:
        return queryset.filter(owner_type="work_order", owner_id=value)


class EventSerializer(serializers.ModelSerializer[OperationsEvent]):
    ownerType = serializers.CharField(source="owner_type")
    ownerId = serializers.CharField(source="owner_id")
    ownerLabel = serializers.CharField(source="owner_label")
    requestId = serializers.CharField(source="request_id")
    createdAt = serializers.DateTimeField(source="created_at")
    meta = serializers.SerializerMethodField()

    class Meta:
        model = OperationsEvent
        fields = (
            "id",
            "kind",
            "message",
            "ownerType",
            "ownerId",
            "ownerLabel",
            "actor",
            "meta",
            "requestId",
            "createdAt",
        )

    @extend_schema_field({"type": "object", "additionalProperties": True})
    def get_meta(self, event: OperationsEvent) -> Any:
        return event.meta


class EventList(generics.ListAPIView[OperationsEvent]):
    required_scope = "read"
    serializer_class = EventSerializer
    pagination_class = NewestEventsFirst
    filter_backends = (KnownFiltersOnly,)
    filterset_class = EventFilter
    queryset = OperationsEvent.objects.all()

    def get_queryset(self) -> QuerySet[OperationsEvent]:
        events = super().get_queryset()
        auth: Any = self.request.auth
        allowed = auth.work_orders
        return events.filter(owner_type="work_order", owner_id__in=allowed) if allowed else events

    @extend_schema(
        operation_id="operations_events_list",
        summary="What happened, newest first",
        tags=["reading"],
        parameters=[DENIAL],
        responses={200: EventSerializer(many=True), **COMMON},
    )
    def get(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return super().get(request, *args, **kwargs)
