"""What one person does who is the only one, and rows as time leaves them."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import connections

from budgets import approvals
from budgets.approvals import solo_operator
from budgets.models import (
    ChangeRequest,
    Grant,
)
from opslog.models import OperationsEvent

GROUPS = ("operations", "director", "finance", "vp")
WHY = "the owner is the only person here"


def switch(*, on: bool = True, minutes: int = 60) -> None:
    solo_operator.switch(enabled=on, minutes=minutes, reason=WHY, by="root")


def owner(sql: str, *params: Any) -> None:
    with connections["owner"].cursor() as cursor:
        cursor.execute(sql, params)


def earlier(table: str, column: str, pk: int, minutes: int) -> None:
    """As if it had happened so many minutes ago. Triggers keep these times from all others."""
    owner(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    owner(
        f"UPDATE {table} SET {column} = {column} - %s WHERE id = %s", timedelta(minutes=minutes), pk
    )
    owner(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def ask(by: User, usd: str = "9.99") -> ChangeRequest:
    request = approvals.ask(
        "w1",
        new={"usd_per_day": Decimal(usd)},
        justification="month end",
        expected_cost_impact="$8 a day",
        by=by,
    )
    return ChangeRequest.objects.get(pk=request.pk)


def waited(request: ChangeRequest, minutes: int = 61) -> ChangeRequest:
    earlier("change_requests", "revised_at", request.pk, minutes)
    return ChangeRequest.objects.get(pk=request.pk)


def sign(
    request: ChangeRequest, by: User, shown: datetime | None = None, decision: str = "approve"
) -> ChangeRequest:
    return approvals.decide(
        request.pk,
        by=by,
        decision=decision,
        comment="looked again",
        seen_revision=request.revision,
        password_confirmed=True,
        second_factor_at=shown,
    )


def event(kind: str) -> Any:
    return OperationsEvent.objects.filter(kind=kind).latest("id")


def smash(by: User) -> Grant:
    (grant,) = approvals.raise_at_once(
        "w1", new={"usd_per_day": Decimal(20)}, minutes=30, reason="night", by=by
    )
    return grant
