"""A stop reaches the caller, whatever a framework makes of it; SIGTERM settles what is open."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from client.python.tollgate_client import Run, StopRun, Tollgate, Unavailable
from client.python.tollgate_client.testing import FakeTollgate
from tests.waiting import HANG_SECONDS, wait_until

from .harness import QUICK, Gate, Program, Real
from .stub import Answer, Stub, admitted, extended, refused, stub_service

ROUNDS = 50
KILLED = refused(403, "kill_switch", "stopped by an operator")


@pytest.fixture
def stub() -> Iterator[Stub]:
    with stub_service() as service:
        service.answers("extend", KILLED)
        yield service


@pytest.fixture
def tollgate(stub: Stub) -> Iterator[Tollgate]:
    with Tollgate(stub.url, "tg_token", agent="digest-1", retry=QUICK) as client:
        yield client


def agent(tool: Callable[[], object]) -> str:
    """As frameworks do it: what a tool raises is sent to the model, which answers something."""
    try:
        tool()
    except Exception as error:
        return f"The tool failed: {error}"
    return "The tool worked."


def tool_that_extends(run: Run) -> Callable[[], object]:
    return lambda: run.extend("0.01")


def test_a_stop_that_a_framework_swallows_is_raised_on_leaving(
    stub: Stub, tollgate: Tollgate
) -> None:
    result = ""
    with pytest.raises(StopRun) as caught, tollgate.run("digest") as run:
        result = agent(tool_that_extends(run))
        run.spent(cost_usd="0.02")
    assert "kill_switch" in result
    assert caught.value.reason == "kill_switch"
    (finish,) = stub.acts("finish")
    assert finish.body == {"status": "success", "costUsd": "0.02"}


def test_it_is_raised_by_every_checkpoint(tollgate: Tollgate) -> None:
    with pytest.raises(StopRun), tollgate.run("digest") as run:
        agent(tool_that_extends(run))
        for _ in range(3):
            assert "kill_switch" in agent(run.checkpoint)


def test_a_failure_after_a_stop_is_the_stop(stub: Stub, tollgate: Tollgate) -> None:
    """Of a framework that gives up, for example."""
    with pytest.raises(StopRun) as caught, tollgate.run("digest") as run:
        agent(tool_that_extends(run))
        run.spent(cost_usd="0.02")
        raise RuntimeError("the agent gave up")
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert stub.acts("finish")[0].body == {"status": "error", "costUsd": "0.02"}


def test_work_that_looks_ends_by_itself(tollgate: Tollgate) -> None:
    """A stop that was not raised is not raised on leaving: the work took note of it."""
    with tollgate.run("digest") as run:
        run.stop("kill_switch", "stopped by an operator")
        assert run.stopped
        run.spent(cost_usd="0.02")


def test_one_in_another_thread_is_seen_too(tollgate: Tollgate) -> None:
    with pytest.raises(StopRun), tollgate.run("digest") as run, ThreadPoolExecutor(1) as pool:
        pool.submit(run.bind(lambda: agent(tool_that_extends(run)))).result()


OPEN = """
with tollgate.run("terminated", agent="digest-1", estimated_cost_usd="0.05") as run:
    run.spent(cost_usd="0.02")
    print(run.id, flush=True)
    while True:
        time.sleep(100)
"""
ASYNC = """
import asyncio
client = AsyncTollgate(tollgate.url, os.environ["TOKEN"], agent="digest-1", retry=quick)
async def main():
    async with client.run("terminated", estimated_cost_usd="0.05") as run:
        run.spent(cost_usd="0.02")
        print(run.id, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
THREADS = """
from concurrent.futures import ThreadPoolExecutor
def work(number):
    with tollgate.run("terminated", agent="digest-1", estimated_cost_usd="0.05") as run:
        run.spent(cost_usd="0.02")
        print(run.id, flush=True)
        while True:
            time.sleep(0.01)
            run.checkpoint()
with ThreadPoolExecutor(2) as pool:
    list(pool.map(work, range(1000)))
"""

# The main thread does not wake: the kernel gives the signal to the other one.
UNSEEN = """
import signal
from concurrent.futures import ThreadPoolExecutor
def work():
    with tollgate.run("terminated", agent="digest-1", estimated_cost_usd="0.05") as run:
        run.spent(cost_usd="0.02")
        print(run.id, flush=True)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        while True:
            time.sleep(0.01)
            run.checkpoint()
with ThreadPoolExecutor(1) as pool:
    pool.submit(work).result()
"""


def test_sigterm_settles_where_the_main_thread_waits_without_a_limit(
    real: Real, program: Callable[[str], Program]
) -> None:
    process = program(real.url).begin(UNSEEN)
    run_id = process.line()
    assert process.ended().code == 143
    assert real.run(run_id) == ("cancelled", Decimal("0.02"))


@pytest.mark.parametrize("text", [OPEN, ASYNC, THREADS], ids=["thread", "task", "threads"])
def test_sigterm_settles(real: Real, program: Callable[[str], Program], text: str) -> None:
    process = program(real.url).begin(text)
    run_id = process.line()
    process.signal(signal.SIGTERM)
    assert process.ended().code == 143
    assert real.run(run_id) == ("cancelled", Decimal("0.02"))
    assert not real.open_runs("terminated")


LATE = """
def work():
    sys.stdin.readline()
    with tollgate.run("terminated", agent="digest-1", estimated_cost_usd="0.05"):
        print("entered", flush=True)
late = threading.Thread(target=work)
late.start()
with tollgate.run("terminated", agent="digest-1", estimated_cost_usd="0.05") as run:
    run.spent(cost_usd="0.02")
    print(run.id, flush=True)
    late.join()
"""


def test_a_run_that_is_admitted_after_sigterm_is_not_entered(
    real: Real, gate: Gate, program: Callable[[str], Program]
) -> None:
    gate.only = "start"
    process = program(gate.url).begin(LATE, "timeout=100")
    run_id = process.line()
    gate.hangs = True
    process.release()
    gate.wait_for("start", 2)
    process.signal(signal.SIGTERM)
    gate.wait_for("finish")  # by the main thread
    gate.hangs = False
    ended = process.ended()
    assert (ended.code, ended.out) == (143, "")  # not "entered"
    assert real.run(run_id) == ("cancelled", Decimal("0.02"))
    assert real.runs("terminated") == real.runs("terminated", "cancelled") == 2


def test_no_thread_enters_a_run_that_is_not_stopped() -> None:
    """However the threads and the handler take turns."""
    threads, between = 8, sys.getswitchinterval()

    def work() -> None:
        barrier.wait(HANG_SECONDS)
        with client.run("digest") as run:
            wait_until(lambda: run.stopped)

    sys.setswitchinterval(1e-6)
    try:
        with FakeTollgate() as fake, ThreadPoolExecutor(threads) as pool:
            fake.work_order("digest", usd_per_day="1000", runs_per_day=10**6, concurrent=threads)
            for _ in range(ROUNDS):
                barrier = threading.Barrier(threads + 1)
                with Tollgate(fake.url, fake.token, agent="digest-1") as client:
                    runs = [pool.submit(work) for _ in range(threads)]
                    barrier.wait(HANG_SECONDS)
                    client.terminate()
                    for run in runs:
                        assert isinstance(run.exception(), StopRun | None)
            fake.assert_all_settled()
    finally:
        sys.setswitchinterval(between)


@pytest.mark.parametrize(
    "answer",
    [
        refused(503, "breaker_open", "open", retry=50),
        refused(429, "feature_rate", "full", retry=50),
        refused(429, "concurrency", "full", retry=50),
    ],
    ids=["another attempt", "a rate", "room"],
)
def test_sigterm_ends_a_wait_to_enter(stub: Stub, tollgate: Tollgate, answer: Answer) -> None:
    stub.answers("start", answer, admitted())
    with ThreadPoolExecutor(1) as pool:
        entering = pool.submit(tollgate.run("digest").__enter__)
        stub.wait_for("start", 1)
        assert tollgate.terminate()
        stop = entering.exception()
    assert isinstance(stop, StopRun)
    assert stop.reason == "terminated"
    assert len(stub.acts("start")) == 1


def test_sigterm_ends_a_wait_to_extend(stub: Stub, tollgate: Tollgate) -> None:
    stub.answers("extend", refused(503, "breaker_open", "open", retry=50), extended())
    with ThreadPoolExecutor(1) as pool, pytest.raises(StopRun), tollgate.run("digest") as run:
        extending = pool.submit(tool_that_extends(run))
        stub.wait_for("extend", 1)
        assert tollgate.terminate()
        assert isinstance(extending.exception(), Unavailable)
        run.checkpoint()
    assert len(stub.acts("extend")) == 1


@pytest.mark.parametrize("text", [OPEN, ASYNC], ids=["thread", "task"])
def test_sigterm_while_the_service_is_away_leaves_it_to_the_journal(
    real: Real, gate: Gate, program: Callable[[str], Program], tmp_path: Path, text: str
) -> None:
    gate.only = "finish"
    process = program(gate.url).begin(
        text.replace("retry=quick", "retry=quick, settle_wait=0.2"), "settle_wait=0.2"
    )
    run_id = process.line()
    gate.hangs = True
    process.signal(signal.SIGTERM)
    assert process.ended().code == 143
    gate.hangs = False
    (entry,) = (tmp_path / "state" / "tollgate").glob("*.json")
    with Tollgate(gate.url, real.token, retry=QUICK):
        wait_until(lambda: real.run(run_id) == ("cancelled", Decimal("0.02")))
        wait_until(lambda: not entry.exists())


ENTERING = """
import signal
gate_is_reached = threading.Timer(0, lambda: print("entering", flush=True))
gate_is_reached.start()
tollgate.run("terminated", agent="digest-1", estimated_cost_usd="0.05").__enter__()
"""


def test_ctrl_c_while_entering_leaves_no_open_run(
    real: Real, gate: Gate, program: Callable[[str], Program]
) -> None:
    gate.only, gate.hangs = "start", True
    process = program(gate.url).begin(ENTERING, "timeout=100")
    process.line()
    gate.wait_for("start")
    process.signal(signal.SIGINT)
    gate.hangs = False
    assert "KeyboardInterrupt" in process.ended().err
    assert not real.open_runs("terminated")


@pytest.mark.parametrize(
    ("own", "options", "code"),
    [
        ("", "exit_signals=False", -signal.SIGTERM),
        ("import signal; signal.signal(signal.SIGTERM, lambda *_: os._exit(7))", "", 7),
    ],
)
def test_a_handler_of_the_program_is_its_own(
    real: Real, program: Callable[[str], Program], own: str, options: str, code: int
) -> None:
    process = program(real.url).begin(own + "\n" + OPEN, options)
    run_id = process.line()
    process.signal(signal.SIGTERM)
    assert process.ended().code == code
    real.tollgate.finish(run_id, status="cancelled", cost_usd=0)


def test_outside_of_runs_sigterm_is_as_it_was(
    real: Real, program: Callable[[str], Program]
) -> None:
    text = """
with tollgate.run("terminated", agent="digest-1", estimated_cost_usd="0.05") as run:
    run.cancel()
print("left", flush=True)
while True:
    time.sleep(100)
"""
    process = program(real.url).begin(text)
    process.line()
    process.signal(signal.SIGTERM)
    assert process.ended().code == -signal.SIGTERM
