"""Every query of docs/sql.md, as the application's role, on rows whose answer is known."""

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from budgets.controls import features
from opslog import events
from opslog.models import InferenceEvent, OperationsEvent, ToolCall
from tests import factories
from tests.admin.scene import make_run, use

PAGE = (Path(__file__).resolve().parents[2] / "docs/sql.md").read_text()
BLOCKS = dict(re.findall(r"<!-- ([a-z ]+) -->\s*```sql\n(.*?)```", PAGE, re.DOTALL))
HALF = Decimal("0.5")


@pytest.fixture
def rows(db: None) -> None:
    """Two work orders, five runs, starts and refusals of today, and calls of models and tools."""
    order = factories.make_work_order("weekly-report", title="Weekly report", runs_per_day=10)
    factories.make_work_order("quiet", title="Quiet")
    factories.make_work_order("gone", title="Gone", status="archived")
    use(order, runs=5, settled="1.50", reserved="0.10")
    now = timezone.now()
    for cost, agent, status in (
        ("0.50", "writer", "success"), ("0.70", "writer", "error"), ("0.30", "reader", "success"),
        (None, "writer", "running"), ("0", "writer", "expired"),
    ):  # fmt: skip
        ended = None if cost is None else now
        make_run(order, agent=agent, status=status, cost=cost and Decimal(cost), finished_at=ended)
    for agent, address in (("writer", "10.0.0.1"), ("writer", "10.0.0.1"), ("reader", "10.0.0.2")):
        record("WORK_ORDER_START", agent, sourceIp=address, tokenName="nightly")
    for reason in ("usd_per_day", "usd_per_day", "runs_per_day", "concurrency"):
        record("RATE_LIMIT_429", "writer", reason=reason, cap="2.00", runsToday=5, usdToday="1.60",
             estimatedUsd="0.50")  # fmt: skip
    record("START_REFUSED", "writer", reason="kill_switch")
    features.change("summaries", {}, reason="a test", by="ops")
    for trigger, usd, user, size in (
        ("user_request", "600", "ann", 100), ("retry", "401", "ann", 300),
        ("undo", "0", "bob", 100), ("user_request", None, "bob", 100),
    ):  # fmt: skip
        InferenceEvent.objects.create(
            event_id=f"{trigger}-{user}", created_at=now, trigger_type=trigger, user_id=user,
            cost_usd=usd and Decimal(usd),
            feature="summaries", model="m", input_tokens=size, output_tokens=10,
        )  # fmt: skip
    for tool, success, retries in (("search", True, 0), ("search", False, 2), ("read", True, 0)):
        ToolCall.objects.create(
            event_id=f"{tool}-{success}",
            created_at=now,
            tool_name=tool,
            success=success,
            retries=retries,
        )
    # What is too old for any of them.
    long_ago = now - timedelta(days=8)
    InferenceEvent.objects.create(event_id="old", created_at=long_ago, cost_usd=5, feature="old")
    ToolCall.objects.create(event_id="old", created_at=long_ago, tool_name="old")


def record(kind: str, agent: str, **meta: Any) -> None:
    events.record(
        kind,
        message=f"{agent} {kind}",
        owner=("work_order", "weekly-report"),
        actor="svc",
        meta={"woId": "weekly-report", "agentName": agent, **meta},
    )


def ask(name: str) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(BLOCKS[name])
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def only(found: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in found]


# block → (columns, rows)
ANSWERS: dict[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]] = {
    "used today": (
        ("id", "runs_today", "reserved", "settled", "runs_pct", "usd_pct"),
        [("weekly-report", 5, Decimal("0.1"), Decimal("1.5"), Decimal("50.0"), Decimal("80.0")),
         ("quiet", 0, 0, 0, 0, 0)],
    ),
    "used by runs": (
        ("runs_today", "cost_today", "average"),
        [(5, Decimal("1.5"), Decimal("0.375"))],
    ),
    "daily report": (
        ("id", "run_cap", "usd_cap", "runs", "cost", "runs_pct", "usd_pct"),
        [("weekly-report", 10, 2, 5, Decimal("1.5"), Decimal("50.0"), Decimal("75.0")),
         ("quiet", 100, 2, 0, 0, 0, 0)],
    ),
    "last refusals": (
        ("work_order", "agent", "denial", "runs_today", "usd_today", "asked"),
        [("weekly-report", "writer", denial, "5", "1.60", "0.50")
         for denial in ("concurrency", "runs_per_day", "usd_per_day", "usd_per_day")],
    ),
    "cap violators": (
        ("work_order", "actor", "agent", "refusals"),
        [("weekly-report", "svc", "writer", 3)],
    ),
    "refusals by reason": (
        ("kind", "denial", "refusals", "work_orders"),
        [("RATE_LIMIT_429", "usd_per_day", 2, 1), ("RATE_LIMIT_429", "concurrency", 1, 1),
         ("START_REFUSED", "kill_switch", 1, 1), ("RATE_LIMIT_429", "runs_per_day", 1, 1)],
    ),
    "starts by actor": (
        ("actor", "agent", "token", "address", "starts"),
        [("svc", "writer", "nightly", "10.0.0.1", 2), ("svc", "reader", "nightly", "10.0.0.2", 1)],
    ),
    "runs by agent": (
        ("agent_name", "runs", "errors", "never_reported", "settled", "dearest"),
        [("writer", 4, 1, 1, Decimal("1.2"), Decimal("0.7")),
         ("reader", 1, 0, 0, Decimal("0.3"), Decimal("0.3"))],
    ),
    "spend by hour": (
        ("requests", "users", "cost", "cost_per_request", "without_price"),
        # 1001 of the three calls whose cost is known
        [(4, 2, 1001, pytest.approx(Decimal("333.666667"), abs=Decimal("0.000001")), 1)],
    ),
    "hidden recompute": (("total", "hidden", "ratio"), [(4, 2, HALF)]),
    "spend by feature": (("feature", "requests", "cost"), [("summaries", 4, 1001)]),
    "tokens by hour": (
        ("input", "output", "p95_input", "p95_output"),
        [(150, 10, pytest.approx(270), 10)],
    ),
    "tool failures": (
        ("tool_name", "calls", "failures", "failure_rate", "retries"),
        [("search", 2, 1, HALF, 1), ("read", 1, 0, 0, 0)],
    ),
}  # fmt: skip


def test_every_query_has_an_answer() -> None:
    assert set(BLOCKS) == {*ANSWERS, "cost cap", "history"}
    assert PAGE.count("```sql") == len(BLOCKS)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("name", ANSWERS)
def test_it_answers(name: str) -> None:
    columns, wanted = ANSWERS[name]
    got = only(ask(name), *columns)
    if name == "refusals by reason":  # equal counts may come in any order of their kinds
        assert sorted(got) == sorted(wanted)
        assert got[0] == wanted[0]
    else:
        assert got == wanted


@pytest.mark.usefixtures("rows")
def test_the_history_is_newest_first() -> None:
    found = ask("history")
    assert [row["kind"] for row in found][:2] == ["START_REFUSED", "RATE_LIMIT_429"]
    changed = [row for row in found if row["kind"] == "WORK_ORDER_CAP_CHANGE"]
    assert len(changed) == 1


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(("bound", "switched"), [(1000, 1), (1001, 0)])
def test_the_cost_cap(bound: int, switched: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(BLOCKS["cost cap"].replace("1000", str(bound)))
        assert cursor.rowcount == switched
    changes = OperationsEvent.objects.filter(
        kind="FEATURE_CHANGE", meta__changes__has_key="enabled"
    )
    assert changes.filter(meta__by="UPDATE").count() == switched
