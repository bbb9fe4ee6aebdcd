"""The client against the real service on a real database."""

from contextlib import suppress
from decimal import Decimal

import pytest

from client.python.tollgate_client import (
    InvalidRequest,
    Refused,
    RetryPolicy,
    StopRun,
    Tollgate,
    Unavailable,
    Usage,
)
from tests.waiting import HANG_SECONDS, stays

from .harness import CONTRACT, NARROW, ROOMY, SCARCE, Real

# In seconds: a lease that a busy machine loses is followed by a longer one.
LEASES = (3, 30)
LOST = ("lease_lost", "finished")
STOPPED = {seconds: f"stopped-{seconds}" for seconds in LEASES}


def test_from_the_ask_to_the_settlement(real: Real) -> None:
    with real.tollgate.run("digest", agent="digest-1", estimated_cost_usd="0.05") as run:
        assert run.admission.caps.runs_per_day == 2
        assert run.admission.usage.usd_today == Decimal("0.05")
        assert run.extend("0.02").reserved_usd == run.reserved_usd == Decimal("0.07")
        run.settle(cost_usd="0.031")
    assert run.settlement is not None
    assert (run.settlement.status, run.settlement.cost_usd) == ("success", Decimal("0.031"))
    assert run.settlement.overrun_usd == 0
    with real.tollgate.run(
        "digest", agent="digest-1", model="gpt-4o-mini",
        estimated_input_tokens=1000, estimated_output_tokens=100,
    ) as again:  # fmt: skip
        again.settle(usage=Usage(model="gpt-4o-mini", input_tokens=1000, output_tokens=50))
    assert again.settlement is not None
    assert again.settlement.cost_usd == Decimal("0.00018")
    results = list(real.tollgate.runs("digest"))
    assert [each["runId"] for each in results] == [again.id, run.id]
    assert [each["id"] for each in real.tollgate.work_orders()] == sorted(
        [*NARROW, *SCARCE, *ROOMY, *CONTRACT]
    )


def test_a_cap_is_asked_about_once(real: Real) -> None:
    for _ in range(2):
        with real.tollgate.run("capped", agent="digest-1", estimated_cost_usd="0.01") as run:
            run.cancel()
        assert run.settlement is not None
        assert (run.settlement.status, run.settlement.cost_usd) == ("cancelled", Decimal(0))
    seen = []
    for _ in range(3):
        with pytest.raises(Refused) as caught:
            real.tollgate.run("capped", agent="digest-1").__enter__()
        seen.append(caught.value)
    assert [refusal.remembered for refusal in seen] == [False, True, True]
    assert {refusal.error for refusal in seen} == {"runs/day cap reached"}
    assert seen[0].retry_after == 86400
    assert seen[0].reset_at is not None
    assert (seen[0].reset_at.hour, seen[0].reset_at.minute) == (0, 0)
    decision = real.tollgate.dry_run("capped", agent="digest-1")
    assert (decision.admitted, decision.reason) == (False, "runs_per_day")


def test_a_cheaper_ask_still_fits(real: Real) -> None:
    with pytest.raises(Refused, match="budget cap reached"):
        real.tollgate.run("poor", agent="digest-1", estimated_cost_usd="1.01").__enter__()
    with real.tollgate.run("poor", agent="digest-1", estimated_cost_usd="0.60") as run:
        with pytest.raises(Refused, match="budget cap reached"):
            run.extend("0.41")
        run.checkpoint()
        run.settle(cost_usd="0.70")
    assert run.settlement is not None
    assert run.settlement.overrun_usd == Decimal("0.10")


def test_refusals_and_faults_are_told_apart(real: Real) -> None:
    with pytest.raises(Refused) as refused:
        real.tollgate.run("nobody-knows-it", agent="digest-1").__enter__()
    assert (refused.value.status, refused.value.denial) == (404, "unknown_work_order")
    with pytest.raises(InvalidRequest) as invalid:
        real.tollgate.run("digest", agent="a\x00b").__enter__()
    assert list(invalid.value.fields) == ["agentName"]
    with Tollgate(real.url, "tg_wrong") as stranger, pytest.raises(Refused) as unknown:
        stranger.run("digest", agent="digest-1").__enter__()
    assert (unknown.value.status, unknown.value.denial) == (401, "token")


def test_a_suspended_work_order_stops_its_running_work(real: Real) -> None:
    for seconds, order in STOPPED.items():
        with (
            pytest.raises(StopRun) as caught,
            real.tollgate.run(
                order,
                agent="digest-1",
                estimated_cost_usd="0.1",
                lease_seconds=seconds,
                interrupt=True,
            ) as run,
        ):
            work_until_interrupted(real, order)
        if caught.value.reason not in LOST:
            break
    assert caught.value.reason == "suspended"
    assert run.settlement is not None
    assert (run.settlement.status, run.settlement.cost_usd) == ("error", Decimal("0.1"))


def work_until_interrupted(real: Real, order: str) -> None:
    real.sql(f"UPDATE work_orders SET status = 'suspended' WHERE id = '{order}'")
    stays(lambda: True, HANG_SECONDS)


def test_renewed_leases_outlive_their_first_end(real: Real) -> None:
    for seconds in LEASES:
        with (
            suppress(StopRun),
            real.tollgate.run(
                "lapsed", agent="digest-1", estimated_cost_usd="0.1", lease_seconds=seconds
            ) as run,
        ):
            stays(lambda: True, 1.5 * seconds)
            run.checkpoint()
            run.settle(cost_usd="0.01")
        if not run.stopped:
            break
    assert not run.stopped
    assert run.settlement is not None
    assert run.settlement.cost_usd == Decimal("0.01")


def test_a_service_that_is_gone_is_unavailable(real: Real) -> None:
    quick = RetryPolicy(attempts=2, first_wait=0.01)
    with (
        Tollgate("http://127.0.0.1:1", real.token, retry=quick) as gone,
        pytest.raises(Unavailable, match="2 attempts"),
    ):
        gone.run("digest", agent="digest-1").__enter__()
