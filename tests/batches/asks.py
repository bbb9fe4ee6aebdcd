"""Asks of a batch, decided on Django's connection."""

from decimal import Decimal

from django.db import connection

from budgets import admission
from budgets.admission import StartAsk, batches
from budgets.admission.batches import Answer, Ask
from tests.admission.desk import Desk


def decide(asks: list[Ask]) -> list[Answer]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT answers FROM tollgate.decide_run_v1(%s, %s, %s, %s, %s)",
            [batches.encode(asks).decode(), *admission.start_settings().values()],
        )
        (answers,) = cursor.fetchone()
    return sorted(batches.decode(answers), key=lambda answer: answer.n)


def start(desk: Desk, wo: str = "w1", usd: str = "0.10", key: str = "") -> Ask:
    ask = StartAsk(wo, "agent-1", Decimal(usd))
    return Ask("start", admission.start_fields(ask, caller=desk.caller, idempotency_key=key))
