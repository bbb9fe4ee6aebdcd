"""Counters, caps and grants of past days, as admissions and approvals would have left them."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from django.db import connections

from budgets import clock
from budgets.models import Counter
from budgets.reports.rules import Action, Report, Row, Totals
from tests import factories
from workorders.models import WorkOrder


def at(day: int, clock: str) -> datetime:
    return datetime.combine(date(2026, 11, day), time.fromisoformat(clock), UTC)


def begins(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def used(work_order: WorkOrder, day: date, *, runs: int, usd: str, held: str = "0") -> Counter:
    return Counter.objects.create(
        key=factories.counter_key("work_order", work_order.pk, "day", begins(day)),
        scope="work_order",
        subject=work_order.pk,
        window="day",
        starts_at=begins(day),
        runs=runs,
        settled_usd=Decimal(usd),
        reserved_usd=Decimal(held),
    )


def refused(
    work_order: WorkOrder, moment: datetime, reason: str, asks: Sequence[datetime] = ()
) -> None:
    """An event of the past, as the log has it; with `asks`, it stands for all of them. The owner
    alone can write it, and only in a test."""
    meta: dict[str, object] = {"woId": work_order.pk, "reason": reason, "agentName": "agent-1"}
    if asks:
        meta |= {"count": len(asks), "asks": [{"at": each.isoformat()} for each in asks]}
    with connections["owner"].cursor() as cursor:
        cursor.execute("ALTER TABLE operations_events DISABLE TRIGGER stamp")
        cursor.execute(
            "INSERT INTO operations_events (created_at, kind, message, owner_type, owner_id, "
            "actor, meta, db_user) "
            "VALUES (%s, 'RATE_LIMIT_429', 'refused', 'work_order', %s, 'svc', %s, 'test')",
            [moment, work_order.pk, json.dumps(meta)],
        )
        cursor.execute("ALTER TABLE operations_events ENABLE TRIGGER stamp")


def long_ago(*work_orders: WorkOrder) -> None:
    """They were there already."""
    ids = [each.pk for each in work_orders]
    WorkOrder.objects.filter(pk__in=ids).update(created_at=begins(date(2020, 1, 1)))


def changed_at(work_order: WorkOrder, days_ago: int) -> None:
    """Its applied changes happened then. The owner alone can say so, and only in a test."""
    moment = begins(clock.today()) - timedelta(days=days_ago) + timedelta(hours=12)
    with connections["owner"].cursor() as cursor:
        cursor.execute("ALTER TABLE cap_changes DISABLE TRIGGER append_only")
        cursor.execute(
            "UPDATE cap_changes SET applied_at = %s WHERE wo_id = %s", [moment, work_order.pk]
        )
        cursor.execute("ALTER TABLE cap_changes ENABLE TRIGGER append_only")


def report(day: date, rows: Iterable[Row]) -> Report:
    """What `rows.read` adds up in SQL, by the rules of a row."""
    found = sorted(rows, key=lambda row: (-row.share, row.work_order))
    kinds = [row.action for row in found]
    return Report(
        day,
        tuple(found),
        Totals(
            work_orders=len(found),
            blocked=kinds.count(Action.BLOCKED),
            near=kinds.count(Action.RAISE),
            idle=kinds.count(Action.REVIEW),
            runs=sum(row.runs for row in found),
            usd=sum((row.usd for row in found), Decimal(0)),
        ),
    )
