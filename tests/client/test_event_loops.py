"""The client waits for its answers, so it is not for the thread of an event loop."""

import asyncio
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from client.python.tollgate_client import Run, Tollgate, current_run
from client.python.tollgate_client.asks import Ask
from tests.waiting import HANG_SECONDS

from .harness import Gate, Real

ASK = Ask(work_order_id="loops", agent="digest-1", estimated_cost_usd=Decimal("0.01"))


def loops(tollgate: Tollgate, **options: Any) -> Run:
    options.setdefault("agent", "digest-1")
    return tollgate.run("loops", estimated_cost_usd="0.01", **options)


CALLS: dict[str, Callable[[Tollgate], object]] = {
    "enter": lambda tollgate: loops(tollgate).__enter__(),
    "interrupt": lambda tollgate: loops(tollgate, interrupt=True).__enter__(),
    "start": lambda tollgate: tollgate.start(ASK),
    "dry_run": lambda tollgate: tollgate.dry_run("loops", agent="digest-1"),
    "extend": lambda tollgate: tollgate.extend("0197f3a0-0000-7000-8000-000000000001"),
    "finish": lambda tollgate: tollgate.finish(
        "0197f3a0-0000-7000-8000-000000000001", status="success", cost_usd=1
    ),
    "runs": lambda tollgate: list(tollgate.runs("loops")),
    "work_orders": lambda tollgate: list(tollgate.work_orders()),
}


async def awaited(call: Callable[[], object]) -> object:
    return call()


@pytest.mark.parametrize("call", CALLS)
def test_a_call_inside_a_running_loop_is_refused(real: Real, gate: Gate, call: str) -> None:
    with (
        Tollgate(gate.url, real.token) as tollgate,
        pytest.raises(RuntimeError, match=r"event loop .* asyncio\.to_thread"),
    ):
        asyncio.run(awaited(lambda: CALLS[call](tollgate)))
    assert not gate.paths


def test_a_callback_of_a_loop_is_inside_it(real: Real) -> None:
    seen: list[str] = []

    async def main() -> None:
        done = asyncio.Event()

        def callback() -> None:
            try:
                loops(real.tollgate).__enter__()
            except RuntimeError as error:
                seen.append(str(error))
            done.set()

        asyncio.get_running_loop().call_soon(callback)
        await done.wait()

    asyncio.run(main())
    assert "event loop" in seen[0]


def test_a_thread_beside_the_loop_may(real: Real) -> None:
    def work() -> Run:
        with loops(real.tollgate) as run:
            run.settle(cost_usd="0.005")
        return run

    run = asyncio.run(in_a_thread(work))
    assert run.settlement is not None
    assert run.settlement.cost_usd == Decimal("0.005")


async def in_a_thread(work: Callable[[], Run]) -> Run:
    return await asyncio.to_thread(work)


def test_a_loop_inside_a_run_is_fine(real: Real) -> None:
    with loops(real.tollgate) as run:
        asyncio.run(steps(run))
    assert run.settlement is not None
    assert run.settlement.cost_usd == Decimal("0.005")


async def steps(run: Run) -> None:
    """What sends nothing may be called; an extension may not."""
    run.checkpoint()
    run.settle(cost_usd="0.005")
    with pytest.raises(RuntimeError, match="event loop"):
        run.extend("0.01")
    await asyncio.to_thread(run.extend, "0.01")
    assert run.reserved_usd == Decimal("0.02")


def test_a_run_that_is_left_in_a_loop_is_settled_beside_it(real: Real) -> None:
    run = loops(real.tollgate)
    run.__enter__()
    run.settle(cost_usd="0.005")
    asyncio.run(awaited(lambda: run.__exit__(None, None, None)))
    assert real.tollgate.flush() == 0
    assert real.run(run.id) == ("success", Decimal("0.005"))


def test_a_client_that_is_closed_in_a_loop_waits_for_nothing(real: Real, gate: Gate) -> None:
    gate.only, gate.hangs = "finish", True

    async def main() -> Tollgate:
        tollgate = Tollgate(gate.url, real.token, settle_wait=HANG_SECONDS, timeout=HANG_SECONDS)
        run = await asyncio.to_thread(loops(tollgate, agent="digest-1").__enter__)
        run.settle(cost_usd="0.005")
        run.__exit__(None, None, None)
        assert tollgate.flush() == 1
        tollgate.close()
        gate.hangs = False
        assert await asyncio.to_thread(tollgate.flush) == 0
        assert real.run(run.id) == ("success", Decimal("0.005"))
        return tollgate

    asyncio.run(main()).close()


def test_a_run_that_was_left_elsewhere_is_not_the_current_one(real: Real) -> None:
    with loops(real.tollgate) as outer:
        run = loops(real.tollgate).__enter__()
        assert current_run() is run
        run.cancel()
        asyncio.run(awaited(lambda: run.__exit__(None, None, None)))
        assert current_run() is outer
        outer.cancel()
    assert current_run() is None


def test_interrupt_is_for_the_main_thread(real: Real, gate: Gate) -> None:
    seen: list[BaseException] = []

    def work() -> None:
        try:
            with loops(tollgate, interrupt=True):
                seen.append(AssertionError("entered"))
        except RuntimeError as error:
            seen.append(error)

    with Tollgate(gate.url, real.token) as tollgate:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        (error,) = seen
        assert "main thread only" in str(error)
        assert not gate.paths
        with loops(tollgate, interrupt=True) as run:
            run.cancel()
