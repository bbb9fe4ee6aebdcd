"""The evidence of real admissions, and of rows behind every figure."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from budgets.evidence import CapEvidence
from budgets.evidence.selector import evidence_for
from opslog.price_book import prices
from tests.admission.desk import Desk, run_of
from tests.factories import lift_limits, make_agent, make_price, make_work_order, set_caps
from workorders.models import Run, WorkOrder

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def quiet() -> None:
    lift_limits()
    prices.forget_book()
    make_agent("agent-1")


def look(runs: int | None = None, usd: str | None = None, **more: Any) -> CapEvidence:
    return evidence_for(
        "w1",
        new_runs_per_day=runs,
        new_usd_per_day=None if usd is None else Decimal(usd),
        **{"now": timezone.now(), **more},
    )


def make_runs(count: int, *, at: datetime | None = None, step: int = 1, **columns: Any) -> None:
    """Settled runs, `step` seconds apart from `at` on (by default: an hour of yesterday)."""
    noon = timezone.now().astimezone(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    begins = at or noon - timedelta(days=1)
    Run.objects.bulk_create(
        Run(
            id=uuid4(),
            wo_id="w1",
            **{
                "agent_name": "agent-1",
                "status": "success",
                "reserved_usd": Decimal("0.02"),
                "cost": Decimal("0.01"),
                **columns,
            },
            day=begins.date(),
            started_at=begins + timedelta(seconds=n * step),
            finished_at=begins + timedelta(seconds=n * step + 1),
            lease_expires_at=begins + timedelta(hours=1),
            lease_seconds=900,
        )
        for n in range(count)
    )


def test_a_work_order_without_any_run() -> None:
    make_work_order()
    found = look(runs=200, usd="9.99")
    assert [(c.measure, c.old, c.new) for c in found.changes] == [
        ("runs_per_day", Decimal(100), Decimal(200)),
        ("usd_per_day", Decimal("2.00"), Decimal("9.99")),
    ]
    assert (found.run_cap_class_before, found.run_cap_class) == ("low", "medium")
    assert (found.today.risk_band, found.costs.average_usd, found.flags) == ("safe", None, ())
    assert len(found.days) == 30
    assert found.what_if.reproduced
    json.dumps(found.as_json())


def test_refused_asks_of_real_admissions() -> None:
    """Three a day of $0.40; the fourth is asked twice with its key, the fifth without one."""
    make_work_order(runs_per_day=3, usd_per_day="2.00", max_concurrent_runs=9)
    desk = Desk()
    for _ in range(3):
        desk.finish(run_of(desk.start(usd="0.40")), usd="0.20")
    for key in ("k4", "k4", ""):
        assert desk.start(usd="0.40", key=key).denial == "runs_per_day"
    found = look(runs=4)
    today = found.days[-1]
    assert (today.runs, today.usd, today.refusals) == (3, Decimal("0.60"), {"runs_per_day": 3})
    assert (found.today.runs, found.today.usd) == (3, Decimal("0.60"))
    what_if = found.what_if
    assert what_if.reproduced
    assert what_if.in_force.still_refused == 2
    assert (what_if.asked.would_run, what_if.asked.still_refused) == (1, 1)
    assert what_if.asked.would_cost_usd == Decimal("0.20")  # runs cost half of what they reserve
    worst = what_if.asked.worst_day
    assert worst is not None
    assert (worst.day, worst.runs, worst.usd) == (today.day, 4, Decimal("0.80"))
    assert look(runs=9).what_if.asked.would_run == 2
    assert (found.costs.average_usd, found.costs.p95_usd) == (Decimal("0.20"), Decimal("0.20"))
    assert found.calibration.ratio == 0.5


def test_dollars_that_bind_are_replayed_run_by_run() -> None:
    make_work_order(runs_per_day=100, usd_per_day="1.00", max_concurrent_runs=9)
    desk = Desk()
    first = run_of(desk.start(usd="0.60"))
    assert desk.extend(first, usd="0.10").status == 200
    assert desk.start(usd="0.50", key="k1").denial == "usd_per_day"
    desk.finish(first, usd="0.10")
    assert desk.start(usd="0.50", key="k1").status == 201
    assert desk.start(usd="0.50", key="k2").denial == "usd_per_day"
    assert desk.start(usd="0.30").status == 201
    found = look(usd="1.30").what_if
    assert found.reproduced
    assert found.in_force.still_refused == 1
    # k1 runs at once and holds what the others had room in.
    assert (found.asked.would_run, found.asked.sooner) == (2, 1)
    assert found.asked.doubtful == ()
    assert look(usd="0.50").what_if.asked.displaced > 0


def test_caps_that_changed_in_between_are_reproduced() -> None:
    order = make_work_order(runs_per_day=1, max_concurrent_runs=9)
    desk = Desk()
    assert [desk.start().status for _ in range(2)] == [201, 429]
    set_caps(order, 2, "2.00")
    assert [desk.start().status for _ in range(2)] == [201, 429]
    found = look(runs=3)
    assert found.what_if.reproduced
    assert found.what_if.in_force.still_refused == 2
    assert found.what_if.asked.would_run == 1


def test_flags_lead_to_their_rows(client: Client) -> None:
    make_work_order()
    make_runs(51)
    make_runs(3, agent_name="stranger", agent_known=False, step=4000)
    make_runs(60, status="error", step=100, cost=Decimal("0.30"))
    make_runs(2, cost=Decimal("1.01"), step=9000)
    found = look()
    rows = {flag.code: {**found.rows, **flag.rows} for flag in found.flags}
    assert set(rows) == {
        "burst",
        "unknown_agents",
        "errors",
        "expensive_average",
        "expensive_run",
    }
    client.force_login(User.objects.create_superuser("root"))
    for code, count in (("unknown_agents", 3), ("errors", 60), ("expensive_run", 2)):
        page = client.get(reverse("admin:workorders_run_changelist"), rows[code])
        assert page.status_code == 200, code
        assert len(page.context["cl"].queryset) == count, code
    burst = next(flag for flag in found.flags if flag.code == "burst")
    page = client.get(reverse("admin:workorders_run_changelist"), rows["burst"])
    assert len(page.context["cl"].queryset) == burst.figures["runs"] > 51


def test_fifty_runs_in_an_hour_are_no_burst() -> None:
    make_work_order()
    make_runs(50)
    assert not look().flags
    make_runs(1)
    assert [flag.code for flag in look().flags] == ["burst"]


def test_agents_errors_and_costs() -> None:
    make_work_order()
    make_runs(19, step=100)
    make_runs(1, cost=Decimal("0.05"), status="error", agent_name="b", agent_known=False)
    make_runs(5, at=timezone.now() - timedelta(days=31))
    found = look()
    assert [(a.agent, a.runs, a.errors, a.unknown_runs) for a in found.agents] == [
        ("agent-1", 19, 0, 0),
        ("b", 1, 1, 1),
    ]
    assert (found.costs.runs, found.costs.errors, found.costs.error_rate) == (20, 1, 0.05)
    assert found.costs.average_usd == Decimal("0.012")
    # Interpolated: between the 19th and the 20th of 20, a twentieth of the way.
    assert (found.costs.p95_usd, found.costs.max_usd) == (Decimal("0.012"), Decimal("0.05"))
    assert (found.calibration.overruns, found.calibration.overrun_usd) == (1, Decimal("0.03"))
    assert (found.calibration.ratio_p50, found.calibration.sampled) == (0.5, 20)


def test_cheaper_models() -> None:
    make_work_order()
    make_price("big", "10", "20", tier="largest")
    make_price("small-a", "1", "2", tier="small")
    make_price("small-b", "2", "4", tier="small")
    make_price("small-c", "4", "8", tier="small")
    make_price("dear", "30", "60", tier="largest")
    make_price(
        "long", "1", "2", tier="middle", tiers=[{"above_input_tokens": 9, "input_per_mtok": "9"}]
    )
    usage = {"model": "big", "inputTokens": 1000, "cachedInputTokens": 0, "outputTokens": 100}
    make_runs(4, usage=usage | {"reasoningTokens": 0}, cost=Decimal("0.012"))
    make_runs(4, cost=Decimal("0.012"))
    found = look().alternatives
    assert (found.runs, found.usd, found.period_usd) == (4, Decimal("0.048"), Decimal("0.096"))
    assert [(each.model, each.usd, each.period_usd) for each in found.models] == [
        ("long", Decimal("0.0368"), Decimal("0.0736")),
        ("small-b", Decimal("0.0096"), Decimal("0.0192")),
        ("small-a", Decimal("0.0048"), Decimal("0.0096")),
    ]


def test_queries_do_not_grow_with_what_is_found() -> None:
    make_work_order(runs_per_day=3, usd_per_day="1.00", max_concurrent_runs=9)
    desk = Desk()
    for n in range(6):
        desk.start(usd="0.30", key=f"k{n}", agent=f"a{n}")
    with CaptureQueriesContext(connection) as queries:
        look(usd="1.10")
    assert len(queries) <= 8, [query["sql"][:60] for query in queries]


def test_the_snapshot_is_plain_and_keeps_money_exact() -> None:
    make_work_order(runs_per_day=1)
    desk = Desk()
    desk.finish(run_of(desk.start(usd="0.123456789")), usd="0.123456789")
    desk.start()
    body = json.loads(json.dumps(look(usd="9.99").as_json()))
    assert body["changes"][1]["new"] == "9.99"
    assert body["costs"]["maxUsd"] == "0.123456789"
    assert body["days"][-1]["refusals"] == {"runs_per_day": 1}
    assert body["at"].endswith("Z")


def test_an_unknown_work_order() -> None:
    with pytest.raises(WorkOrder.DoesNotExist):
        look()
