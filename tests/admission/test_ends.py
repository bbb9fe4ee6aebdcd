"""What becomes of a run once it is admitted: its finish, and its extensions."""

from decimal import Decimal

import pytest

from budgets.admission import counters as ledger
from budgets.usage import today
from opslog.price_book import prices
from opslog.pricing import Usage
from tests.admission.desk import Desk, body, last_event, run_of
from tests.factories import (
    make_price,
    make_token,
    make_work_order,
    set_limit,
)
from workorders import directory
from workorders.models import Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk() -> Desk:
    prices.forget_book()
    make_work_order()
    return Desk()


def test_finish(desk: Desk) -> None:
    run = run_of(desk.start(usd="0.10"))
    decision = desk.finish(run, "0.04")
    answer = body(decision)
    assert (answer["status"], answer["costUsd"], answer["overrunUsd"]) == (
        "success",
        "0.04",
        "0.00",
    )
    usage = today.usage_today(Run.objects.get().wo)
    assert (usage.reserved_usd, usage.settled_usd, usage.open_runs) == (
        Decimal(0),
        Decimal("0.04"),
        0,
    )
    again = desk.finish(run, "0.04")
    assert (again.body, again.replayed) == (decision.body, True)
    otherwise = desk.finish(run, "0.05")
    assert (otherwise.status, otherwise.denial) == (409, "run_ended")
    assert not list(ledger.differences())


def test_an_overrun_is_recorded_in_full_and_counts(desk: Desk) -> None:
    run = run_of(desk.start(usd="0.10"))
    assert body(desk.finish(run, "2.50"))["overrunUsd"] == "2.40"
    assert last_event().kind == "RUN_OVERRUN"
    assert desk.start(usd="0.01").denial == "usd_per_day"


def test_usage_with_and_without_a_price(desk: Desk) -> None:
    from uuid import UUID

    from budgets import admission

    make_price("m", "1.00", "10.00", cached_input_per_mtok=Decimal("0.10"))
    usage = Usage(10_000, 1_000, cached_input_tokens=8_000, reasoning_tokens=500)
    for model, cost, note in (("m", "0.0128", None), ("nobody-knows", "0.10", "unpriced")):
        report = admission.FinishTold(status="success", model=model, usage=usage)
        run = run_of(desk.start(usd="0.10"))
        answer = body(admission.finish(UUID(run), report, caller=desk.caller))
        assert (answer["costUsd"], answer["costNote"]) == (cost, note)


def test_anothers_run_does_not_exist(desk: Desk) -> None:
    run = run_of(desk.start())
    stranger = Desk()
    assert stranger.finish(run).status == 404
    assert stranger.extend(run).status == 404
    assert desk.finish(run).status == 200


def test_an_admin_token_for_some_work_orders(desk: Desk) -> None:
    make_work_order("w2")
    run = run_of(desk.start())
    elsewhere = Desk(make_token(scopes=["admin"], work_orders=["w2"])[1])
    assert elsewhere.finish(run).status == elsewhere.extend(run).status == 404
    assert Desk(make_token(scopes=["admin"], work_orders=["w1"])[1]).finish(run).status == 200


def test_finish_is_always_possible(desk: Desk) -> None:
    run = run_of(desk.start())
    directory.suspend("w1", by="ops", reason="test")
    set_limit("global", "day", "usd", "0.01")
    assert desk.finish(run).status == 200


def test_extend(desk: Desk) -> None:
    run = run_of(desk.start(usd="0.10", lease_seconds=60))
    answer = body(desk.extend(run, "0.20", lease=600))
    assert answer["reservedUsd"] == "0.30"
    assert Run.objects.get().lease_seconds == 600
    assert last_event().kind == "RUN_EXTENDED"
    assert desk.extend(run, "1.71").denial == "usd_per_day"
    assert last_event().meta["estimatedUsd"] == "1.71"
    assert desk.extend(run, "1.70").status == 200
    set_limit("global", "day", "usd", "2.00")
    make_work_order("w2")
    assert desk.start("w2", usd="0.01").denial == "budget:global:day"
    assert not list(ledger.differences())


def test_an_extension_is_replayed(desk: Desk) -> None:
    run = run_of(desk.start())
    first = desk.extend(run, "0.10", key="e1")
    assert body(desk.extend(run, "0.10", key="e1")) == body(first) | {"replayed": True}
    assert Run.objects.get().reserved_usd == Decimal("0.20")
    assert desk.extend(run, "0.11", key="e1").status == 422


def test_a_replayed_extension_shows_the_run_as_it_is_now(desk: Desk) -> None:
    run = run_of(desk.start())
    first = body(desk.extend(run, "0.10", lease=60, key="e1"))
    later = body(desk.extend(run, "0.30", lease=600))
    now = body(desk.extend(run, "0.10", lease=60, key="e1"))
    assert (now["status"], now["reservedUsd"]) == ("running", "0.50")  # 0.10 + 0.10 + 0.30
    assert now["leaseExpiresAt"] == later["leaseExpiresAt"] > first["leaseExpiresAt"]
    desk.finish(run)
    again = desk.extend(run, "0.10", lease=60, key="e1")
    assert (again.status, again.replayed, body(again)["status"]) == (200, True, "success")


def test_an_extension_stops_where_a_start_would(desk: Desk) -> None:
    run = run_of(desk.start())
    directory.suspend("w1", by="ops", reason="stop")
    assert desk.extend(run).denial == "suspended"
    assert desk.extend(run, "0.01").denial == "suspended"
    desk.finish(run)
    assert desk.extend(run).denial == "run_ended"
