"""Work orders and their runs, to read; and to register one."""

from datetime import date
from typing import Annotated, Any, Self
from uuid import UUID

import django_filters
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema_view
from msgspec import Meta, field
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from opslog.api.answers import Answer, Moment, Usd
from opslog.api.errors import BadRequest
from opslog.api.filters import ChoiceFilter, MomentFilter
from opslog.api.pagination import Pages
from opslog.api.requests import Body, Name, RawJSONParser, principal_of
from opslog.api.schema import NOT_FOUND, operation
from opslog.exceptions import NotAllowedNow
from workorders import directory, governing
from workorders.exceptions import AlreadyExists, ReservedId
from workorders.models import RESERVED_IDS, WORK_ORDER_ID
from workorders.models import Run as RunRow
from workorders.models import WorkOrder as Row


class Caps(Answer):
    runs_per_day: int
    usd_per_day: float


class CapsInForce(Caps):
    max_concurrent_runs: int
    until: Moment | None


class WorkOrder(Answer):
    id: str
    title: str
    status: Row.Status
    caps: Caps
    caps_in_force: CapsInForce
    max_concurrent_runs: int
    refuse_unknown_agents: bool
    created_at: Moment

    @classmethod
    def of(cls, source: Any, **computed: Any) -> Self:
        caps = computed.get("caps_in_force") or governing.caps_in_force([source.pk])[source.pk]
        return super().of(source, caps=source, caps_in_force=caps)


class Run(Answer):
    id: UUID = field(name="runId")
    wo_id: str = field(name="workOrderId")
    agent_name: str
    agent_known: bool
    status: RunRow.Status
    reserved_usd: Usd
    cost: Usd | None = field(name="costUsd")
    cost_note: str
    day: date
    started_at: Moment
    finished_at: Moment | None
    lease_expires_at: Moment
    model: str
    user_id: str
    surface: str
    feature: str


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


class RunFilter(django_filters.FilterSet):
    status = ChoiceFilter(choices=RunRow.Status)
    agent = django_filters.CharFilter(field_name="agent_name", max_length=200)
    since = MomentFilter(field_name="started_at", lookup_expr="gte")
    until = MomentFilter(field_name="started_at", lookup_expr="lt")


@extend_schema_view(
    get=operation(
        "work_orders_list",
        "All work orders",
        tag="reading",
        answers={200: ("A page.", WorkOrder)},
        errors=NOT_FOUND,
    )
)
class WorkOrderList(Pages):
    answer = WorkOrder
    ordering = ("id",)
    parser_classes = (RawJSONParser,)
    queryset = Row.objects.all()

    @property
    def required_scope(self) -> str:
        return "admin" if self.request.method == "POST" else "read"

    def get_queryset(self) -> QuerySet[Row]:
        allowed = principal_of(self.request).work_orders
        return Row.objects.filter(id__in=allowed) if allowed else super().get_queryset()

    def answers_of(self, rows: Any) -> list[WorkOrder]:
        caps = governing.caps_in_force([row.pk for row in rows])
        return [WorkOrder.of(row, caps_in_force=caps[row.pk]) for row in rows]

    @operation(
        "work_order_register",
        "Register a work order",
        "Caps start at the defaults, whatever is asked: more is a cap change.",
        tag="administration",
        body=RegisterBody,
        answers={201: ("Registered.", WorkOrder)},
        errors={409: "There is one with this id already."},
        examples={"A new one": {"title": "Weekly report"}},
    )
    def post(self, request: Request) -> Response:
        body = RegisterBody.read(request.data)
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
        return Response(WorkOrder.of(work_order), status=201)


class WorkOrderDetail(APIView):
    required_scope = "read"

    @operation(
        "work_order_read",
        "One work order",
        tag="reading",
        answers={200: ("The work order.", WorkOrder)},
        errors=NOT_FOUND,
    )
    def get(self, request: Request, wo_id: str) -> Response:
        return Response(WorkOrder.of(get_object_or_404(Row, pk=wo_id)))


@extend_schema_view(
    get=operation(
        "work_order_runs",
        "Runs of a work order, newest first",
        tag="reading",
        answers={200: ("A page.", Run)},
        errors=NOT_FOUND,
    )
)
class RunList(Pages):
    required_scope = "read"
    answer = Run
    ordering = ("-started_at", "id")
    filterset_class = RunFilter
    queryset = RunRow.objects.all()

    def get_queryset(self) -> QuerySet[RunRow]:
        get_object_or_404(Row.objects.only("id"), pk=self.kwargs["wo_id"])
        return RunRow.objects.filter(wo_id=self.kwargs["wo_id"])
