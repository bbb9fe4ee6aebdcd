"""What JSON makes of an ask and of its answer: the parameters of a single call, and no others."""

import json
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection

from budgets.admission import batches
from budgets.admission.batches import Ask
from opslog.pricing import Usage
from tests import factories
from tests.admission.desk import Desk
from tests.batches.looping import start
from tests.batches.test_batches import decide

pytestmark = pytest.mark.django_db
NAMES = [
    "agent \u00e9\U0001f600",
    "quotes \"' \\ / </script>",
    "\\u0041\\n is no escape",
    "tabs\tand\nlines\u2028\u007f\u0001",
    "e\u0301 \u202e \ufeff",
]
AMOUNTS = ["1E-9", "0.000000001", "1E+2", "100.000000000", "0E+3", "12345.678901234", "0.1"]


def seen(ask: Ask) -> dict[str, Any]:
    """Its parameters as the routine gets them, as text."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT row_to_json(x)::text FROM json_populate_recordset(NULL::tollgate.ask, %s) x",
            [batches.encode([ask]).decode()],
        )
        row: dict[str, Any] = json.loads(cursor.fetchone()[0], parse_float=Decimal)
        return row


@pytest.mark.parametrize("name", NAMES)
def test_text_arrives_as_it_is(name: str) -> None:
    fields = {
        "digest": b"\x00\xff",
        "fingerprint": b"",
        "agent": name,
        "sent_as": {"agentName": name},
    }
    row = seen(Ask("start", {**fields, "address": None, "key": ""}))
    assert (row["agent"], row["sent_as"]) == (name, {"agentName": name})
    assert (row["digest"], row["fingerprint"]) == ("\\x00ff", "\\x")
    assert (row["address"], row["key"], row["usage"]) == (None, "", None)


@pytest.mark.parametrize("amount", AMOUNTS)
def test_no_digit_of_an_amount_is_lost(amount: str) -> None:
    fields = {"digest": b"", "fingerprint": b"", "tokens": 2**63 - 1}
    row = seen(Ask("finish", {**fields, "cost": Decimal(amount), "run": uuid4()}))
    assert Decimal(str(row["cost"])) == Decimal(amount)
    assert row["tokens"] == 2**63 - 1


def test_usage_is_the_same_in_either_way() -> None:
    usage = Usage(input_tokens=2**53 + 1, output_tokens=3).body()
    row = seen(Ask("spend", {"digest": b"", "fingerprint": b"", "usage": usage}))
    assert row["usage"] == json.loads(json.dumps(usage))


def test_amounts_of_an_answer_are_exact_and_its_body_is_not_touched() -> None:
    factories.make_work_order("w1", usd_per_day="900.00", max_concurrent_runs=9)
    factories.lift_limits()
    desk = Desk()
    usd = "123.456789012"  # binary floats hold it as 123.4567890120000038…
    answers = decide([start(desk, usd=usd, key=f"k{n}", confirm=True) for n in range(2)])
    assert [each.reserved_usd for each in answers] == [Decimal(usd)] * 2
    with connection.cursor() as cursor:
        cursor.execute("SELECT answer->>'body' FROM idempotency_records ORDER BY key")
        written = [row[0] for row in cursor.fetchall()]
    assert [each.decision().body for each in answers] == written
    assert '"reservedUsd" : "123.456789012"' in written[0]
