"""What a replay needs in a database of its own: work orders, limits, prices and a token."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from io import StringIO

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import transaction

from budgets.models import Budget, CapChange
from opslog import events
from workorders import tokens
from workorders.models import Agent, WorkOrder


@dataclass(frozen=True, slots=True)
class Caps:
    runs_per_day: int
    usd_per_day: Decimal
    concurrent: int

    def __str__(self) -> str:
        return (
            f"{self.runs_per_day} runs/day, ${self.usd_per_day}/day and {self.concurrent} "
            "concurrent runs"
        )


def prepare(work_orders: Sequence[str], agents: Sequence[str], caps: Caps) -> str:
    """Fill an empty, migrated database and give a token for it. The limit of calls per source
    address is switched off, because every ask of a replay comes from one machine."""
    call_command("update_prices", apply=True, reason="prices for a replay", stdout=StringIO())
    with transaction.atomic():
        _, token = tokens.create(
            name="replay",
            scopes=["start", "read"],
            owner=User.objects.create_user("replay"),
            by="replay",
        )
        Agent.objects.bulk_create(Agent(name=name) for name in agents)
        for name in work_orders:
            order = WorkOrder.objects.create(id=name, title=f"Replay {name}")
            set_caps(order, caps)
        Budget.objects.filter(scope=Budget.Scope.ADDRESS).update(amount=None)
    return token


def set_caps(work_order: WorkOrder, caps: Caps) -> None:
    """Caps by fixture, with the proof in the same transaction that the database asks for."""
    work_order.refresh_from_db()
    if (work_order.runs_per_day, work_order.usd_per_day, work_order.max_concurrent_runs) == (
        caps.runs_per_day,
        caps.usd_per_day,
        caps.concurrent,
    ):
        return
    CapChange.objects.create(
        wo=work_order,
        old_runs_per_day=work_order.runs_per_day,
        new_runs_per_day=caps.runs_per_day,
        old_usd_per_day=work_order.usd_per_day,
        new_usd_per_day=caps.usd_per_day,
        old_max_concurrent_runs=work_order.max_concurrent_runs,
        new_max_concurrent_runs=caps.concurrent,
        reason="limits of a replay",
        by="replay",
    )
    events.record(
        "WORK_ORDER_CAP_CHANGE",
        message="limits of a replay",
        owner=("work_order", work_order.pk),
        actor="replay",
    )
    WorkOrder.objects.filter(pk=work_order.pk).update(
        runs_per_day=caps.runs_per_day,
        usd_per_day=caps.usd_per_day,
        max_concurrent_runs=caps.concurrent,
    )
