"""Reading the event log."""

from typing import Any

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_view

from opslog.api.answers import Answer, Moment
from opslog.api.filters import MomentFilter
from opslog.api.pagination import Pages
from opslog.api.schema import operation
from opslog.models import OperationsEvent


class EventFilter(django_filters.FilterSet):
    kind = django_filters.CharFilter(max_length=64)
    actor = django_filters.CharFilter(max_length=200)
    ownerType = django_filters.CharFilter(field_name="owner_type", max_length=64)
    ownerId = django_filters.CharFilter(field_name="owner_id", max_length=200)
    workOrder = django_filters.CharFilter(method="of_work_order", max_length=100)
    since = MomentFilter(field_name="created_at", lookup_expr="gte")
    until = MomentFilter(field_name="created_at", lookup_expr="lt")

    def of_work_order(
        self, queryset: QuerySet[OperationsEvent], name: str, value: str
    ) -> QuerySet[OperationsEvent]:
        return queryset.filter(owner_type="work_order", owner_id=value)


class Event(Answer):
    id: int
    kind: str
    message: str
    owner_type: str
    owner_id: str
    owner_label: str
    actor: str
    meta: dict[str, Any]
    request_id: str
    created_at: Moment


@extend_schema_view(
    get=operation(
        "operations_events_list",
        "What happened, newest first",
        tag="reading",
        answers={200: ("A page.", Event)},
    )
)
class EventList(Pages):
    required_scope = "read"
    answer = Event
    ordering = ("-created_at", "-id")  # that of the log's indexes
    filterset_class = EventFilter
    queryset = OperationsEvent.objects.all()

    def get_queryset(self) -> QuerySet[OperationsEvent]:
        events = super().get_queryset()
        auth: Any = self.request.auth
        allowed = auth.work_orders
        return events.filter(owner_type="work_order", owner_id__in=allowed) if allowed else events
