"""Work orders and their runs, to read; and to register one."""

from collections.abc import Mapping
from typing import Annotated, Any

import django_filters
import msgspec
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema, extend_schema_field
from msgspec import Meta
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from opslog.api.errors import BadRequest
from opslog.api.filters import ChoiceFilter, KnownFiltersOnly, MomentFilter
from opslog.api.pagination import KeysetPagination
from opslog.api.requests import Body, Name, RawJSONParser, decode, principal_of
from opslog.api.schema import (
    BODY_ERRORS,
    COMMON,
    DENIAL,
    ERROR,
    NOT_FOUND,
    example,
    record,
    said,
    shape,
)
from opslog.exceptions import NotAllowedNow
from opslog.pricing.money import usd_text
from workorders import directory, governing
from workorders.api import schema as _schema  # noqa: F401  (registers how tokens are shown)
from workorders.exceptions import AlreadyExists, ReservedId
from workorders.governing import CapsInForce
from workorders.models import RESERVED_IDS, WORK_ORDER_ID, Run, WorkOrder

CAPS = record(runsPerDay={"type": "integer"}, usdPerDay={"type": "number"})
CAPS_IN_FORCE = record(
    runsPerDay={"type": "integer"},
    usdPerDay={"type": "number"},
    maxConcurrentRuns={"type": "integer"},
    until={"type": ["string", "null"], "format": "date-time"},
)


def as_json(caps: CapsInForce) -> dict[str, Any]:
    return {
        "runsPerDay": caps.runs_per_day,
        "usdPerDay": float(caps.usd_per_day),
        "maxConcurrentRuns": caps.max_concurrent_runs,
        "until": caps.until,
    }


class RegisterBody(Body, frozen=True):
    title: Name
    id: (
        Annotated[
            str,
            Meta(
                pattern=WORK_ORDER_ID + r"(?!\n)",
                extra_json_schema={"not": {"enum": list(RESERVED_IDS)}},
            ),
        ]
        | None
    ) = None
    max_concurrent_runs: Annotated[int, Meta(ge=1, le=directory.DEFAULT_CONCURRENT_RUNS)] | None = (
        None
    )


REGISTER = msgspec.json.Decoder(RegisterBody)


class WorkOrderSerializer(serializers.ModelSerializer[WorkOrder]):
    caps = serializers.SerializerMethodField()
    capsInForce = serializers.SerializerMethodField()
    maxConcurrentRuns = serializers.IntegerField(source="max_concurrent_runs")
    refuseUnknownAgents = serializers.BooleanField(source="refuse_unknown_agents")
    createdAt = serializers.DateTimeField(source="created_at")

    class Meta:
        model = WorkOrder
        fields = (
            "id",
            "title",
            "status",
            "caps",
            "capsInForce",
            "maxConcurrentRuns",
            "refuseUnknownAgents",
            "createdAt",
        )

    @extend_schema_field(CAPS)
    def get_caps(self, work_order: WorkOrder) -> dict[str, Any]:
        return {
            "runsPerDay": work_order.runs_per_day,
            "usdPerDay": float(work_order.usd_per_day),
        }

    @extend_schema_field(CAPS_IN_FORCE)
    def get_capsInForce(self, work_order: WorkOrder) -> dict[str, Any]:
        known = self.context.get("caps_in_force") or governing.caps_in_force([work_order.pk])
        return as_json(known[work_order.pk])


class Dollars(serializers.Field):  # type: ignore[type-arg]  # read only: no input type
    """An amount as the API sends it."""

    def to_representation(self, value: Any) -> str:
        return usd_text(value)


class RunSerializer(serializers.ModelSerializer[Run]):
    runId = serializers.UUIDField(source="id")
    workOrderId = serializers.CharField(source="wo_id")
    agentName = serializers.CharField(source="agent_name")
    agentKnown = serializers.BooleanField(source="agent_known")
    reservedUsd = extend_schema_field({"type": "string"})(Dollars)(source="reserved_usd")
    costUsd = extend_schema_field({"type": "string", "nullable": True})(Dollars)(source="cost")
    costNote = serializers.CharField(source="cost_note")
    startedAt = serializers.DateTimeField(source="started_at")
    finishedAt = serializers.DateTimeField(source="finished_at", allow_null=True)
    leaseExpiresAt = serializers.DateTimeField(source="lease_expires_at")
    userId = serializers.CharField(source="user_id")

    class Meta:
        model = Run
        fields = (
            "runId",
            "workOrderId",
            "agentName",
            "agentKnown",
            "status",
            "reservedUsd",
            "costUsd",
            "costNote",
            "day",
            "startedAt",
            "finishedAt",
            "leaseExpiresAt",
            "model",
            "userId",
            "surface",
            "feature",
        )


class RunFilter(django_filters.FilterSet):
    status = ChoiceFilter(choices=Run.Status)
    agent = django_filters.CharFilter(field_name="agent_name", max_length=200)
    since = MomentFilter(field_name="started_at", lookup_expr="gte")
    until = MomentFilter(field_name="started_at", lookup_expr="lt")

    class Meta:
        model = Run
        fields: list[str] = []


class ById(KeysetPagination):
    ordering = "id"


class NewestFirst(KeysetPagination):
    ordering = ("-started_at", "id")


class WorkOrderList(generics.ListAPIView[WorkOrder]):
    serializer_class = WorkOrderSerializer
    pagination_class = ById
    parser_classes = (RawJSONParser,)
    filter_backends = (KnownFiltersOnly,)
    queryset = WorkOrder.objects.all()
    in_force: Mapping[str, CapsInForce] | None = None

    @property
    def required_scope(self) -> str:
        return "admin" if self.request.method == "POST" else "read"

    def get_queryset(self) -> QuerySet[WorkOrder]:
        allowed = principal_of(self.request).work_orders
        return WorkOrder.objects.filter(id__in=allowed) if allowed else super().get_queryset()

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset)
        self.in_force = governing.caps_in_force([each.pk for each in page or ()])
        return page

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "caps_in_force": self.in_force}

    @extend_schema(
        operation_id="work_orders_list",
        summary="All work orders",
        tags=["reading"],
        parameters=[DENIAL],
        responses={200: WorkOrderSerializer(many=True), **COMMON, **NOT_FOUND},
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    @extend_schema(
        operation_id="work_order_register",
        summary="Register a work order",
        description="Caps start at the defaults, whatever is asked: more is a cap change.",
        tags=["administration"],
        request={"application/json": shape(RegisterBody)},
        parameters=[DENIAL],
        responses={
            201: WorkOrderSerializer,
            **COMMON,
            **BODY_ERRORS,
            409: said("There is one with this id already.", ERROR),
        },
        examples=[
            example("A new one", {"title": "Weekly report"}, request_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        body = decode(REGISTER, request.data)
        allowed = principal_of(request).work_orders
        if allowed and (body.id or "") not in allowed:
            raise BadRequest("bad input", {"id": ["Not among the work orders of this token"]})
        try:
            work_order = directory.register(
                title=body.title,
                by=principal_of(request).actor,
                wo_id=body.id or "",
                max_concurrent_runs=body.max_concurrent_runs or directory.DEFAULT_CONCURRENT_RUNS,
            )
        except AlreadyExists as error:
            return Response({"error": str(error)}, status=409)
        except ReservedId as error:
            raise BadRequest("bad input", {"id": [str(error)]}) from None
        except NotAllowedNow as error:
            raise BadRequest("bad input", {"maxConcurrentRuns": [str(error)]}) from None
        return Response(self.get_serializer(work_order).data, status=201)


class WorkOrderDetail(generics.RetrieveAPIView[WorkOrder]):
    required_scope = "read"
    serializer_class = WorkOrderSerializer
    queryset = WorkOrder.objects.all()
    lookup_url_kwarg = "wo_id"

    @extend_schema(
        operation_id="work_order_read",
        summary="One work order",
        tags=["reading"],
        parameters=[DENIAL],
        responses={200: WorkOrderSerializer, **COMMON, **NOT_FOUND},
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)


class RunList(generics.ListAPIView[Run]):
    required_scope = "read"
    serializer_class = RunSerializer
    pagination_class = NewestFirst
    filter_backends = (KnownFiltersOnly,)
    filterset_class = RunFilter
    queryset = Run.objects.all()

    def get_queryset(self) -> QuerySet[Run]:
        get_object_or_404(WorkOrder.objects.only("id"), pk=self.kwargs["wo_id"])
        return Run.objects.filter(wo_id=self.kwargs["wo_id"])

    @extend_schema(
        operation_id="work_order_runs",
        summary="Runs of a work order, newest first",
        tags=["reading"],
        parameters=[DENIAL],
        responses={200: RunSerializer(many=True), **COMMON, **NOT_FOUND},
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)
