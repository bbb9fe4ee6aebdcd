"""Runs: a ledger, read only."""

import uuid
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from unfold.contrib.filters.admin import AutocompleteSelectFilter, DropdownFilter

from opslog.admin.base import (
    LATELY,
    RECENT,
    DayByDayMixin,
    DayFilter,
    LargeTableMixin,
    PageAdmin,
    choice_filter,
    column,
    day_begins,
    moments,
    parse_day,
)
from opslog.events.filters import PERIODS
from opslog.identities import canonical
from opslog.models import OperationsEvent
from workorders.models import Agent, Run


class RunDayFilter(DayFilter):
    """The day a run counts for. An hour on both sides of it, because the day is read after the
    lock and the start may be written a moment before: the index is on `started_at`."""

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        day = parse_day(self.value())
        if day is None:
            return queryset
        begins, hour = day_begins(day), timedelta(hours=1)
        return queryset.filter(
            day=day,
            started_at__gte=begins - hour,
            started_at__lt=begins + timedelta(days=1) + hour,
        )


def lately(period: str) -> Any:
    return lambda _, rows: rows.filter(started_at__gte=timezone.now() - PERIODS[period])


# In the words that the event history has for it.
LAST = choice_filter(
    "time",
    "last",
    {period: (f"the last {words}", lately(period)) for period, words in LATELY.items()},
)
KNOWN = choice_filter(
    "registration",
    "known",
    {"no": ("unknown agents only", lambda _, rows: rows.filter(agent_known=False))},
)


class WorkOrderFilter(AutocompleteSelectFilter):
    """The column is named `wo`; people read "work order". Typed and searched: there may be
    a hundred thousand."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = "work order"


class AgentFilter(DropdownFilter):
    """The registered agents, and whoever was chosen by a link."""

    title = "agent"
    parameter_name = "agent"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = set(Agent.objects.values_list("name", flat=True)[:500])
        names |= {request.GET.get("agent", "")} - {""}
        return [("", "all"), *((name, name[:60]) for name in sorted(names))][1:]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(agent_name=canonical(self.value())) if self.value() else queryset


@admin.register(Run)
class RunAdmin(DayByDayMixin, LargeTableMixin, PageAdmin):
    list_display = ("started", "work_order", "agent", "state", "reserved", "settled", "model_used")
    list_display_links = ("started",)
    list_filter = (
        "status",
        ("wo", WorkOrderFilter),
        AgentFilter,
        KNOWN,
        LAST,
        RunDayFilter,
    )
    list_select_related = ("wo",)
    search_fields = ("id",)
    search_help_text = "run id, work order id, or agent"
    page_template = "workorders/run.html"
    ordering = ("-started_at",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """A run's id; else the id of a work order or the beginning of an agent's name, in the last
        31 days unless a day is chosen: names have no index."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(pk=uuid.UUID(term)), False
        except ValueError:
            pass
        if "day" not in request.GET:
            queryset = queryset.filter(started_at__gte=timezone.now() - RECENT)
        return queryset.filter(Q(wo_id=term) | Q(agent_name__istartswith=term)), False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("usage", "charged_to", "finish_fingerprint")  # type: ignore[no-any-return]

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        last = (obj.finished_at or timezone.now()) + timedelta(days=2)
        events = OperationsEvent.objects.filter(
            owner_type="work_order",
            owner_id=obj.wo_id,
            meta__runId=str(obj.pk),
            created_at__range=(obj.started_at - timedelta(minutes=1), last),
        )
        return {
            "run": obj,
            "title": f"Run of {obj.agent_name}",
            "events": events.order_by("created_at", "id")[:20],
            "overrun": obj.cost - obj.reserved_usd
            if obj.cost is not None and obj.cost > obj.reserved_usd
            else None,
            "lease_over": obj.status == Run.Status.RUNNING
            and obj.lease_expires_at < timezone.now(),
            "duration": obj.finished_at - obj.started_at if obj.finished_at else None,
            "token": obj.token_id
            and type(obj).token.field.related_model.objects.filter(pk=obj.token_id).first(),
        }

    started = moments("started_at", "started", seconds=True)

    @display(description="work order")
    def work_order(self, run: Run) -> str:
        return render_to_string("workorders/work_order_link.html", {"work_order": run.wo})

    agent = column("agent", lambda run: render_to_string("workorders/agent.html", {"run": run}))

    @display(description="status")
    def state(self, run: Run) -> str:
        return render_to_string("workorders/state.html", {"run": run, "now": timezone.now()})

    @display(description="reserved")
    def reserved(self, run: Run) -> str:
        return render_to_string(
            "tollgate/exact.html", {"amount": run.reserved_usd, "of": f"{run.pk} reserved"}
        )

    @display(description="cost")
    def settled(self, run: Run) -> str:
        over = run.cost is not None and run.cost > run.reserved_usd
        cost = {"amount": run.cost, "over": over, "of": f"{run.pk} cost"}
        return render_to_string("tollgate/exact.html", cost)

    model_used = column("model", lambda run: run.model or "–")
