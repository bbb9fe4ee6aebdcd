"""A start with the idempotency key of an earlier one, on the real service."""

from decimal import Decimal
from uuid import uuid4

import pytest

from client.python.tollgate_client import AlreadyEnded, Refused, Run, Tollgate

from .harness import Gate, Real


def again(tollgate: Tollgate, key: str, order: str = "again") -> Run:
    return tollgate.run(
        order, agent="digest-1", estimated_cost_usd="0.05", idempotency_key=key, lease_seconds=600
    )


def test_a_settled_run_is_not_entered(real: Real) -> None:
    key = str(uuid4())
    with again(real.tollgate, key) as first:
        first.settle(cost_usd="0.031")
    worked = False
    with pytest.raises(AlreadyEnded) as caught, again(real.tollgate, key):
        worked = True
    assert not worked
    error = caught.value
    assert (error.run_id, error.status, error.cost_usd) == (first.id, "success", Decimal("0.031"))
    assert error.settlement == first.settlement
    assert "$0.031" in str(error)
    assert real.run(first.id) == ("success", Decimal("0.031"))


def test_a_cancelled_run_is_not_entered(real: Real) -> None:
    key = str(uuid4())
    with again(real.tollgate, key) as first:
        first.cancel()
    with pytest.raises(AlreadyEnded) as caught, again(real.tollgate, key):
        pass
    assert (caught.value.status, caught.value.cost_usd) == ("cancelled", Decimal(0))


def test_a_run_whose_lease_is_over_is_not_entered(real: Real) -> None:
    key = str(uuid4())
    admission, _ = real.tollgate.start(again(real.tollgate, key).ask, key=key)
    real.sql("UPDATE work_order_runs SET lease_expires_at = now() WHERE id = %s", admission.run_id)
    with pytest.raises(AlreadyEnded) as caught, again(real.tollgate, key):
        pass
    # Its reservation is what the end of the lease settles.
    assert (caught.value.status, caught.value.cost_usd) == ("expired", Decimal("0.05"))


def test_a_running_one_is_renewed_and_entered(real: Real, gate: Gate) -> None:
    key = str(uuid4())
    admission, _ = real.tollgate.start(again(real.tollgate, key).ask, key=key)
    real.tollgate.extend(admission.run_id, additional_usd="0.02", lease_seconds=5)
    with Tollgate(gate.url, real.token) as tollgate:
        with again(tollgate, key) as run:
            assert gate.paths[-1].endswith("/extend")
            assert run.id == admission.run_id
            assert run.admission.replayed
            assert run.reserved_usd == Decimal("0.07")
            assert run.admission.lease_expires_at > admission.lease_expires_at
            run.settle(cost_usd="0.06")
        assert run.settlement is not None
        assert run.settlement.overrun_usd == 0
    assert real.run(run.id) == ("success", Decimal("0.06"))


def test_an_answer_that_was_lost_is_the_same_run(real: Real, gate: Gate) -> None:
    key = str(uuid4())
    gate.lost = 1
    with Tollgate(gate.url, real.token) as tollgate, again(tollgate, key) as run:
        assert run.admission.replayed
        run.settle(cost_usd="0.01")
    assert real.runs("again") == 1
    assert real.run(run.id) == ("success", Decimal("0.01"))


@pytest.mark.parametrize(("stop", "order"), [("kill_switch", "again"), ("suspended", "suspended")])
def test_a_run_that_may_not_go_on_is_not_entered(real: Real, stop: str, order: str) -> None:
    key = str(uuid4())
    admission, _ = real.tollgate.start(again(real.tollgate, key, order).ask, key=key)
    if stop == "kill_switch":
        real.kill(on=True)
    else:  # for good: only a person resumes it
        real.sql("UPDATE work_orders SET status = 'suspended' WHERE id = 'suspended'")
    try:
        with pytest.raises(Refused) as caught, again(real.tollgate, key, order):
            pytest.fail("entered")
    finally:
        real.kill(on=False)
    assert caught.value.denial == stop
    assert admission.run_id in caught.value.__notes__[0]
    assert real.run(admission.run_id) == ("running", None)
    # Whoever holds it settles it.
    real.tollgate.finish(admission.run_id, status="error", cost_usd="0.02")
    assert real.run(admission.run_id) == ("error", Decimal("0.02"))
