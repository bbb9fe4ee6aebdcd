"""A run belongs to the process that entered it, however the others came about."""

import pickle
from collections.abc import Callable
from decimal import Decimal

import pytest

from client.python.tollgate_client import (
    AlreadyEnded,
    InvalidRequest,
    Refused,
    StopRun,
    TollgateError,
    Unavailable,
)

from .harness import Ended, Gate, Program, Real

ENTER = """
run = tollgate.run("forked", agent="digest-1", estimated_cost_usd="0.05")
"""
# What the parent says at its end, once the child is gone.
PARENT = """
    os.waitpid(child, 0)
    print("open", *[each["status"] for each in tollgate.runs("forked")][:1])
    run.settle(cost_usd="0.04")
print("settled", run.settlement.cost_usd, run.id)
"""

CHILDREN = {
    "ends inside": """
with run:
    run.settle(cost_usd="0.01")
    child = os.fork()
    if child == 0:
        sys.exit(3)
""",
    "fails inside": """
with run:
    child = os.fork()
    if child == 0:
        sys.stderr.close()
        raise SystemError("a bug of the child")
""",
    "leaves normally": """
with run:
    child = os.fork()
    if child == 0:
        run.__exit__(None, None, None)
        os._exit(0)
""",
    "forks from a thread": """
with run:
    children = []
    def fork():
        child = os.fork()
        if child == 0:
            run.__exit__(None, None, None)
            os._exit(0)
        children.append(child)
    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    child = children[0]
""",
    "settles by the client": """
with run:
    child = os.fork()
    if child == 0:
        try:
            tollgate.finish(run.id, status="success", cost_usd="0.01")
        except RuntimeError as error:
            assert "belongs to process" in str(error), error
            os._exit(0)
        os._exit(9)
""",
}


@pytest.fixture
def ended(program: Callable[[str], Program], real: Real) -> Callable[[str], Ended]:
    return lambda text: program(real.url).run(text)


def check(real: Real, ended: Ended) -> None:
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[-2] == "open running", ended.out
    _, cost, run_id = lines[-1].split()
    assert cost == "0.04"
    assert real.run(run_id) == ("success", Decimal("0.04"))


@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_does_not_settle_the_run_of_its_parent(
    real: Real, ended: Callable[[str], Ended], child: str
) -> None:
    check(real, ended(ENTER + CHILDREN[child] + PARENT))


@pytest.mark.parametrize(
    "act",
    [
        "settle(cost_usd=1)",
        "cancel()",
        "checkpoint()",
        "stopped",
        "extend('0.01')",
        "extend()",
    ],
)
def test_a_child_that_uses_it_gets_a_clear_error(
    real: Real, ended: Callable[[str], Ended], act: str
) -> None:
    text = f"""
with run:
    child = os.fork()
    if child == 0:
        try:
            run.{act}
        except RuntimeError as error:
            print(error, flush=True)
        os._exit(0)
"""
    answer = ended(ENTER + text + PARENT)
    assert "belongs to process" in answer.out
    assert "report the cost to that process" in answer.out
    check(real, answer)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing(
    real: Real, program: Callable[[str], Program], method: str
) -> None:
    """Each starts a run of its own, with the client that it inherits; a spawned one makes it."""
    text = """
import multiprocessing

def work(number):
    with tollgate.run("forked", agent="digest-1", estimated_cost_usd="0.05") as own:
        own.settle(cost_usd="0.02")
    return own.id

if __name__ == "__main__":
    multiprocessing.set_start_method(METHOD)
    from concurrent.futures import ProcessPoolExecutor
    with tollgate.run("forked", agent="digest-1", estimated_cost_usd="0.05") as run:
        with ProcessPoolExecutor(2) as pool:
            runs = list(pool.map(work, range(4)))
        run.settle(cost_usd="0.04")
    print(*runs)
    print(run.id)
"""
    ended = program(real.url).run(text.replace("METHOD", repr(method)))
    assert ended.code == 0, ended.err
    *_, runs, own = ended.out.splitlines()
    assert len(set(runs.split())) == 4
    for each in runs.split():
        assert real.run(each) == ("success", Decimal("0.02"))
    assert real.run(own) == ("success", Decimal("0.04"))


def test_workers_that_are_forked_share_no_connection(
    real: Real, gate: Gate, program: Callable[[str], Program]
) -> None:
    """As a web server does that loads the program first: the pool has a connection by then."""
    text = """
def work():
    with tollgate.run("forked", agent="digest-1", estimated_cost_usd="0.01") as run:
        run.settle(cost_usd="0.01")
    assert run.settlement is not None

work()
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        for _ in range(5):
            work()
        os._exit(0)
    children.append(child)
work()
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
"""
    ended = program(gate.url).run(text)
    assert ended.code == 0, ended.err
    # One of the parent before and after, and one of each child.
    assert len(set(gate.agents)) == 5
    assert gate.asked("start") == gate.asked("finish") == 22


def test_a_fork_while_other_threads_hold_locks(
    real: Real, program: Callable[[str], Program]
) -> None:
    text = """
def work():
    with tollgate.run("forked", agent="digest-1", estimated_cost_usd="0.001") as run:
        run.settle(cost_usd="0.001")

threads = [threading.Thread(target=lambda: [work() for _ in range(10)]) for _ in range(4)]
for thread in threads:
    thread.start()
children = []
for _ in range(10):
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    children.append(child)
for thread in threads:
    thread.join()
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
"""
    ended = program(real.url).run(text)
    assert ended.code == 0, ended.err


def test_a_subprocess_leaves_it_alone(real: Real, ended: Callable[[str], Ended]) -> None:
    text = """
import subprocess
with run:
    assert subprocess.run([sys.executable, "-c", "import sys; sys.exit(3)"]).returncode == 3
    assert subprocess.run(["true"], preexec_fn=lambda: None).returncode == 0
    child = os.spawnlp(os.P_NOWAIT, "true", "true")
"""
    check(real, ended(ENTER + text + PARENT))


def test_a_run_and_a_client_cannot_be_sent_to_another_process(real: Real) -> None:
    with real.tollgate.run("forked", agent="digest-1", estimated_cost_usd="0.01") as run:
        run.cancel()
        with pytest.raises(TypeError, match="belongs to the process"):
            pickle.dumps(run)
    with pytest.raises(TypeError, match="make one in each process"):
        pickle.dumps(real.tollgate)


ERRORS: list[TollgateError] = [
    Refused(status=429, denial="usd_per_day", error="budget cap reached", retry_after=5.0),
    InvalidRequest(status=400, error="bad input", fields={"agentName": ["too long"]}),
    Unavailable("nobody answers"),
    AlreadyEnded(run_id="r", status="success", cost_usd=Decimal("0.01")),
    StopRun("kill_switch", "stopped by an operator"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_leave_a_process_pool(error: TollgateError) -> None:
    """One that cannot be pickled breaks the pool instead of the one piece of work."""
    error.add_note("a note")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own)
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
