"""Runs of tasks, on the real service: nothing blocks the event loop, and nothing is left open."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from client.python.tollgate_client import (
    AlreadyEnded,
    AsyncRun,
    AsyncTollgate,
    Refused,
    RetryPolicy,
    StopRun,
    Tollgate,
    Unavailable,
    current_run,
)
from tests.waiting import HANG_SECONDS, awaited_until, stays, wait_until

from .harness import QUICK, Gate, Program, Real

ROUNDS = 300
SOON, AT_ONCE = 1.0, 0.2  # of the client, in seconds
# In seconds: a lease that a busy machine loses is followed by a longer one.
LEASES = (1, 4, 16, 64)


@asynccontextmanager
async def client_to(url: str, real: Real, **options: Any) -> AsyncIterator[AsyncTollgate]:
    given: dict[str, Any] = {"retry": QUICK, "settle_wait": HANG_SECONDS, "timeout": HANG_SECONDS}
    async with AsyncTollgate(url, real.token, agent="digest-1", **(given | options)) as tollgate:
        yield tollgate


def task_run(tollgate: AsyncTollgate, **options: Any) -> AsyncRun:
    return tollgate.run("tasks", estimated_cost_usd="0.05", **options)


async def enter(tollgate: AsyncTollgate, **options: Any) -> AsyncRun:
    return await task_run(tollgate, **options).__aenter__()


async def goes_round(task: "asyncio.Task[Any]") -> None:
    """The loop serves others while the task waits for what does not come."""
    for _ in range(ROUNDS):
        done, _ = await asyncio.wait([asyncio.ensure_future(nothing())])
        assert done
        assert not task.done()


async def nothing() -> None:
    """A piece of work of another task."""


async def cancelled(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_from_the_ask_to_the_settlement(real: Real) -> None:
    async def main() -> AsyncRun:
        async with client_to(real.url, real) as tollgate:
            async with task_run(tollgate) as run:
                assert current_run() is run
                assert (await run.extend("0.02")).reserved_usd == Decimal("0.07")
                run.spent(cost_usd="0.02")
                run.spent(cost_usd="0.011")
            assert current_run() is None
            listed = [each["runId"] async for each in tollgate.runs("tasks")]
            assert run.id in listed
            decision = await tollgate.dry_run("tasks", estimated_cost_usd="0.05")
            assert decision.admitted
        return run

    run = asyncio.run(main())
    assert run.settlement is not None
    assert run.settlement.cost_usd == Decimal("0.031")
    assert real.run(run.id) == ("success", Decimal("0.031"))


def test_a_failure_costs_what_was_reported(real: Real) -> None:
    async def main() -> AsyncRun:
        async with client_to(real.url, real) as tollgate:
            run = task_run(tollgate)
            with pytest.raises(ZeroDivisionError):
                async with run:
                    run.spent(cost_usd="0.01")
                    _ = 1 / 0
        return run

    assert real.run(asyncio.run(main()).id) == ("error", Decimal("0.01"))


@pytest.mark.parametrize("act", ["start", "extend", "finish"])
def test_a_service_that_never_answers_holds_no_loop(real: Real, gate: Gate, act: str) -> None:
    gate.only = act

    async def main() -> AsyncRun:
        async with client_to(gate.url, real) as tollgate:
            run = task_run(tollgate)

            async def work() -> None:
                async with run:
                    await run.extend("0.01")
                    run.spent(cost_usd="0.02")

            gate.hangs = True
            task = asyncio.create_task(work())
            await awaited_until(lambda: gate.asked(act))
            await goes_round(task)
            gate.hangs = False
            await task
        return run

    assert real.run(asyncio.run(main()).id) == ("success", Decimal("0.02"))


def test_entering_gives_up(real: Real, gate: Gate) -> None:
    once = RetryPolicy(attempts=2, first_wait=0.01, longest_wait=0.05)

    async def main() -> None:
        async with client_to(gate.url, real, retry=once, timeout=AT_ONCE) as tollgate:
            gate.hangs = True
            with pytest.raises(Unavailable, match="2 attempts"):
                await enter(tollgate)
            gate.hangs = False
            assert await tollgate.aflush(HANG_SECONDS) == 0

    asyncio.run(main())
    assert not real.open_runs("tasks")  # the service had admitted it


def test_paid_work_does_not_fail_because_of_its_settlement(
    real: Real, gate: Gate, tmp_path: Path
) -> None:
    gate.only = "finish"
    folder = tmp_path / "journal"

    async def main() -> tuple[str, str]:
        async with client_to(gate.url, real, settle_wait=0.2, journal=folder) as tollgate:
            async with task_run(tollgate) as run:
                run.spent(cost_usd="0.02")
                answer = "paid for"
                gate.hangs = True
            assert run.settlement is None
        return run.id, answer

    run_id, answer = asyncio.run(main())
    assert answer == "paid for"
    assert list(folder.glob("*.json"))
    gate.hangs = False
    with Tollgate(gate.url, real.token, retry=QUICK, journal=folder):
        wait_until(lambda: real.run(run_id) == ("success", Decimal("0.02")))
        wait_until(lambda: not list(folder.iterdir()))


def test_cancelled_while_entering_leaves_no_open_run(real: Real, gate: Gate) -> None:
    gate.only = "start"

    async def main() -> None:
        async with client_to(gate.url, real) as tollgate:
            gate.hangs = True
            task = asyncio.create_task(enter(tollgate))
            await awaited_until(lambda: gate.asked("start"))
            await cancelled(task)
            gate.hangs = False
            await awaited_until(lambda: gate.asked("finish"))
            await tollgate.aflush(HANG_SECONDS)
            assert len(asyncio.all_tasks()) == 1  # none that would keep a lease

    asyncio.run(main())
    assert real.runs("tasks") == 1
    assert not real.open_runs("tasks")


def test_the_loop_ends_while_it_is_entered(real: Real, gate: Gate) -> None:
    """The background asks with the key of the start what became of it, and gives it back."""
    gate.only = "start"
    tollgate = AsyncTollgate(gate.url, real.token, agent="digest-1", retry=QUICK, timeout=SOON)

    async def main() -> None:
        task = asyncio.create_task(enter(tollgate))
        await awaited_until(lambda: gate.asked("start"))
        await cancelled(task)

    gate.hangs = True
    asyncio.run(main())
    gate.hangs = False
    assert tollgate.flush(HANG_SECONDS) == 0
    assert not real.open_runs("tasks")


def test_a_run_of_an_idempotency_key_is_left_to_its_holder(real: Real, gate: Gate) -> None:
    """Who is cancelled while it enters a run of before does not cancel that."""
    gate.only = "extend"
    key = "tasks-key-1"

    async def main() -> str:
        async with client_to(gate.url, real) as tollgate:
            first = await enter(tollgate, idempotency_key=key)
            gate.hangs = True
            task = asyncio.create_task(enter(tollgate, idempotency_key=key))
            await awaited_until(lambda: gate.asked("extend"))
            await cancelled(task)
            gate.hangs = False
            await awaited_until(lambda: len(asyncio.all_tasks()) == 2)  # main, and one lease
            assert real.run(first.id) == ("running", None)
            first.spent(cost_usd="0.03")
            await first.__aexit__(None, None, None)
            with pytest.raises(AlreadyEnded):
                await enter(tollgate, idempotency_key=key)
        return first.id

    assert real.run(asyncio.run(main())) == ("success", Decimal("0.03"))


async def blocked(run: AsyncRun) -> None:
    """Work that waits for ever, after it has spent."""
    async with run:
        run.spent(cost_usd="0.02")
        await asyncio.Event().wait()


def test_cancelled_in_the_block_is_settled_at_its_cost(real: Real) -> None:
    async def main() -> AsyncRun:
        async with client_to(real.url, real) as tollgate:
            run = task_run(tollgate)
            task = asyncio.create_task(blocked(run))
            await awaited_until(lambda: run.reported.reported)
            await cancelled(task)
        return run

    assert real.run(asyncio.run(main()).id) == ("cancelled", Decimal("0.02"))


def test_cancelled_twice_is_settled_all_the_same(real: Real, gate: Gate) -> None:
    gate.only = "finish"

    async def main() -> AsyncRun:
        async with client_to(gate.url, real) as tollgate:
            run = task_run(tollgate)
            task = asyncio.create_task(blocked(run))
            await awaited_until(lambda: run.reported.reported)
            gate.hangs = True
            task.cancel()
            await awaited_until(lambda: gate.asked("finish"))
            await cancelled(task)
            gate.hangs = False
            await awaited_until(lambda: run.settlement)
        return run

    assert real.run(asyncio.run(main()).id) == ("cancelled", Decimal("0.02"))


def test_the_loop_ends_while_it_is_left(real: Real, gate: Gate) -> None:
    gate.only = "finish"
    tollgate = AsyncTollgate(gate.url, real.token, agent="digest-1", retry=QUICK, timeout=SOON)
    run = task_run(tollgate)

    async def main() -> None:
        task = asyncio.create_task(blocked(run))
        await awaited_until(lambda: run.reported.reported)
        gate.hangs = True
        task.cancel()
        await awaited_until(lambda: gate.asked("finish"))
        await cancelled(task)

    asyncio.run(main())
    gate.hangs = False
    assert tollgate.flush(HANG_SECONDS) == 0
    assert real.run(run.id) == ("cancelled", Decimal("0.02"))


def in_steps_of_leases(work: Callable[[int], Coroutine[Any, Any, AsyncRun]]) -> AsyncRun:
    """The work with the first lease that a busy machine does not lose."""
    for seconds in LEASES:
        run = asyncio.run(work(seconds))
        reason = run._stop.reason if run._stop else ""
        if reason not in ("lease_lost", "finished"):
            break
    return run


def test_the_lease_is_renewed_by_a_task(real: Real, gate: Gate) -> None:
    threads = threading.active_count()

    async def work(seconds: int) -> AsyncRun:
        asked = gate.asked("extend")
        async with client_to(gate.url, real) as tollgate:
            run = task_run(tollgate, lease_seconds=seconds)
            with suppress(StopRun):
                async with run:
                    await awaited_until(lambda: run.stopped or gate.asked("extend") >= asked + 4)
                    ours = {each.name for each in threading.enumerate() if "tollgate" in each.name}
                    assert ours <= {"tollgate-signals"}
                    run.checkpoint()
                    run.spent(cost_usd="0.01")
            extended = gate.asked("extend")
            assert len(asyncio.all_tasks()) == 1
            stays(lambda: gate.asked("extend") <= extended + 1, 0.1)
        return run

    run = in_steps_of_leases(work)
    assert real.run(run.id) == ("success", Decimal("0.01"))
    assert threading.active_count() <= threads + 5  # of connections of the gate


@pytest.mark.parametrize("interrupt", [True, False])
def test_a_kill_switch_stops_its_task_and_no_other(real: Real, interrupt: bool) -> None:
    async def work(seconds: int) -> AsyncRun:
        others = asyncio.create_task(asyncio.Event().wait())
        async with client_to(real.url, real) as tollgate:
            run = task_run(tollgate, lease_seconds=seconds, interrupt=interrupt)
            with pytest.raises(StopRun) as caught:
                async with run:
                    run.spent(cost_usd="0.02")
                    real.kill(on=True)
                    if interrupt:
                        await asyncio.Event().wait()
                    await awaited_until(run.checkpoint)
            task = asyncio.current_task()
            assert task is not None
            assert not task.cancelling()
        assert caught.value.reason in ("kill_switch", "lease_lost")
        assert not others.done()
        others.cancel()
        return run

    try:
        run = in_steps_of_leases(work)
    finally:
        real.kill(on=False)
    assert run.settlement is not None
    assert real.run(run.id) == ("error", Decimal("0.02"))


def test_refusals_are_raised(real: Real) -> None:
    async def main() -> None:
        async with client_to(real.url, real) as tollgate:
            with pytest.raises(Refused) as caught:
                await tollgate.run("nobody-knows-it").__aenter__()
            assert caught.value.denial == "unknown_work_order"

    asyncio.run(main())


def test_one_client_serves_several_loops(real: Real) -> None:
    tollgate = AsyncTollgate(real.url, real.token, agent="digest-1", retry=QUICK)

    async def main() -> str:
        async with task_run(tollgate) as run:
            run.spent(cost_usd="0.01")
        return run.id

    runs = [asyncio.run(main()) for _ in range(3)]
    assert [real.run(each)[1] for each in runs] == [Decimal("0.01")] * 3


def test_many_tasks_at_once(real: Real) -> None:
    async def main() -> list[AsyncRun]:
        async with client_to(real.url, real) as tollgate:

            async def work(number: int) -> AsyncRun:
                async with task_run(tollgate, patience=HANG_SECONDS) as run:
                    await asyncio.gather(*(step(run, number) for _ in range(3)))
                return run

            return await asyncio.gather(*(work(number) for number in range(30)))

    async def step(run: AsyncRun, number: int) -> None:
        assert current_run() is run  # a task inherits it
        run.spent(cost_usd=Decimal(number) / 1000)

    for number, run in enumerate(asyncio.run(main())):
        assert run.settlement is not None
        assert run.settlement.cost_usd == Decimal(3 * number) / 1000


def test_a_program_that_ends_in_a_run(
    real: Real, gate: Gate, program: Callable[[str], Program]
) -> None:
    """Ctrl-C ends asyncio.run: the run is cancelled at its cost."""
    text = """
import asyncio, signal
client = AsyncTollgate(tollgate.url, os.environ["TOKEN"], agent="digest-1")
async def main():
    async with client.run("tasks", estimated_cost_usd="0.05") as run:
        run.spent(cost_usd="0.02")
        print(run.id, flush=True)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()
asyncio.run(main())
"""
    ended = program(gate.url).run(text)
    assert "KeyboardInterrupt" in ended.err
    assert real.run(ended.out.strip()) == ("cancelled", Decimal("0.02"))
