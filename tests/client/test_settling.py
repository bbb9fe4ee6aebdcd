"""A settlement arrives: over a deploy, after the end of the program, after its death."""

import json
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from client.python.tollgate_client import (
    AlreadyEnded,
    Refused,
    RetryPolicy,
    Run,
    Tollgate,
    Unavailable,
    Usage,
)
from tests.waiting import HANG_SECONDS, stays, wait_until

from .harness import QUICK, Gate, Program, Real

DEPLOYS = [503, 502, 404, 500, 200, 0]


@pytest.fixture
def tollgate(real: Real, gate: Gate) -> Iterator[Tollgate]:
    with Tollgate(gate.url, real.token, retry=QUICK, settle_wait=HANG_SECONDS) as client:
        yield client


def paid(tollgate: Tollgate, **options: object) -> Run:
    return tollgate.run(
        "paid",
        agent="digest-1",
        estimated_cost_usd="0.05",
        **options,  # type: ignore[arg-type]
    )


def cost_of(run: Run) -> Decimal | None:
    return run.settlement.cost_usd if run.settlement else None


def work_until_the_service_is_away(run: Run, gate: Gate) -> None:
    run.settle(cost_usd="0.031")
    gate.closed = 503


def failing_work(gate: Gate) -> None:
    gate.closed = 0
    _ = 1 / 0


def deploy(gate: Gate, closed: int, *, asks: int) -> threading.Thread:
    """The service is away from now on, until it was asked so often."""
    gate.closed = closed
    before = gate.asked("finish")

    def opens() -> None:
        gate.wait_for("finish", before + asks)
        gate.closed = None

    thread = threading.Thread(target=opens)
    thread.start()
    return thread


@pytest.mark.parametrize("closed", DEPLOYS)
def test_a_deploy_while_the_run_is_left(
    real: Real, gate: Gate, tollgate: Tollgate, closed: int
) -> None:
    """More attempts than a start gets; whatever the proxy answers meanwhile."""
    with paid(tollgate) as run:
        run.settle(cost_usd="0.031")
        opened = deploy(gate, closed, asks=2 * RetryPolicy().attempts)
    opened.join()
    assert run.settlement is not None
    assert run.settlement.cost_usd == Decimal("0.031")
    assert real.run(run.id) == ("success", Decimal("0.031"))


def test_an_answer_that_is_lost(real: Real, gate: Gate, tollgate: Tollgate) -> None:
    with paid(tollgate) as run:
        run.settle(usage=Usage(model="gpt-4o-mini", input_tokens=1000, output_tokens=50))
        gate.lost = 3
    # 1,000 tokens at $0.15 and 50 at $0.60 a million
    assert real.run(run.id) == ("success", Decimal("0.00018"))
    assert gate.asked("finish") == 4


def test_who_does_not_wait_leaves_it_to_the_background(real: Real, gate: Gate) -> None:
    with Tollgate(gate.url, real.token, retry=QUICK, settle_wait=0) as tollgate:
        with paid(tollgate) as run:
            run.settle(cost_usd="0.02")
            gate.closed = 503
        assert cost_of(run) is None
        gate.wait_for("finish", 10)
        assert tollgate.flush(0) == 1
        gate.closed = None
        assert tollgate.flush(HANG_SECONDS) == 0
        assert cost_of(run) == Decimal("0.02")
    assert real.run(run.id) == ("success", Decimal("0.02"))


def test_the_end_of_the_client_waits(real: Real, gate: Gate) -> None:
    with Tollgate(gate.url, real.token, retry=QUICK, settle_wait=0) as tollgate:
        with paid(tollgate) as run:
            run.settle(cost_usd="0.02")
            opened = deploy(gate, 503, asks=5)
        tollgate.settler.wait = HANG_SECONDS
    opened.join()
    assert real.run(run.id) == ("success", Decimal("0.02"))


def test_a_run_that_is_left_after_the_client_was_closed(real: Real, gate: Gate) -> None:
    tollgate = Tollgate(gate.url, real.token, retry=QUICK)
    with paid(tollgate) as run:
        tollgate.close()
        run.settle(cost_usd="0.02")
    assert real.run(run.id) == ("success", Decimal("0.02"))


def test_paid_work_does_not_fail_because_of_it(
    real: Real, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "tollgate_client")
    given_up = RetryPolicy(first_wait=0.01, longest_wait=0.05, total=0.2)
    with Tollgate(gate.url, real.token, retry=given_up, settle_wait=0.1, journal=False) as tollgate:
        with paid(tollgate, lease_seconds=1) as run:
            run.settle(cost_usd="0.031")
            gate.closed = 503
        wait_until(lambda: tollgate.flush(0) == 0)
    assert cost_of(run) is None
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert run.id in error.getMessage()
    assert "$0.031" in error.getMessage()


def test_unless_it_is_asked_to(real: Real, gate: Gate) -> None:
    with Tollgate(gate.url, real.token, retry=QUICK, settle_wait=0.1) as tollgate:
        run = paid(tollgate, on_settle_error="raise")
        with pytest.raises(Unavailable, match="has not arrived"), run:
            work_until_the_service_is_away(run, gate)
        gate.closed = None  # it is sent all the same
        assert tollgate.flush(HANG_SECONDS) == 0
    assert real.run(run.id) == ("success", Decimal("0.031"))


def test_the_exception_of_the_block_wins(real: Real, gate: Gate) -> None:
    with Tollgate(gate.url, real.token, retry=QUICK, settle_wait=0.1) as tollgate:
        run = paid(tollgate, on_settle_error="raise")
        with pytest.raises(ZeroDivisionError) as caught, run:
            failing_work(gate)
        assert run.id in caught.value.__notes__[0]
        assert "$0.05" in caught.value.__notes__[0]
        gate.closed = None
    assert real.run(run.id) == ("error", Decimal("0.05"))


def test_what_the_service_does_not_take_is_logged_and_not_sent_again(
    real: Real, gate: Gate, tollgate: Tollgate, caplog: pytest.LogCaptureFixture
) -> None:
    with paid(tollgate) as run:
        real.tollgate.finish(run.id, status="success", cost_usd="0.01")
        run.settle(cost_usd="0.02")
    assert gate.asked("finish") == 1
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert run.id in error.getMessage()
    assert "$0.02" in error.getMessage()
    with pytest.raises(Refused), paid(tollgate, on_settle_error="raise") as run:
        real.tollgate.finish(run.id, status="success", cost_usd="0.01")
        run.settle(cost_usd="0.02")
    assert real.run(run.id) == ("success", Decimal("0.01"))


END = """
with tollgate.run("paid", agent="digest-1", estimated_cost_usd="0.05") as run:
    run.settle(cost_usd="0.031")
    print(run.id, flush=True)
    sys.stdin.readline()
"""


def test_the_end_of_the_program_waits(
    real: Real, gate: Gate, program: Callable[[str], Program]
) -> None:
    text = END.replace("as run:", "as run:\n    tollgate.settler.wait = 0")
    process = program(gate.url).begin(text + "\ntollgate.settler.wait = 100\n")
    run_id = process.line()
    gate.closed = 503
    process.release()
    gate.wait_for("finish", 5)
    gate.closed = None
    assert process.ended().code == 0
    assert real.run(run_id) == ("success", Decimal("0.031"))


def test_it_waits_for_so_long_only(
    real: Real, gate: Gate, program: Callable[[str], Program]
) -> None:
    process = program(gate.url).begin(END, "settle_wait=0.5, journal=False")
    run_id = process.line()
    gate.closed = 503
    process.release()
    ended = process.ended()
    assert ended.code == 0
    assert f"ERROR:tollgate_client:run {run_id} was not settled at $0.031" in ended.err


def test_a_journal_outlives_the_program(
    real: Real, gate: Gate, program: Callable[[str], Program], tmp_path: Path
) -> None:
    folder = tmp_path / "journal"
    process = program(gate.url).begin(END, f"settle_wait=0.1, journal={str(folder)!r}")
    run_id = process.line()
    gate.closed = 503
    process.release()
    ended = process.ended()
    assert ended.code == 0
    assert "stays in the journal" in ended.err
    (file,) = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert real.token not in file.read_text()
    assert real.run(run_id) == ("running", None)
    gate.closed = None
    with Tollgate(gate.url, real.token, retry=QUICK, journal=folder):
        wait_until(lambda: real.run(run_id) == ("success", Decimal("0.031")))
        wait_until(lambda: not list(folder.iterdir()))


@pytest.mark.parametrize("closed", [503, None])
def test_a_program_that_is_killed(
    real: Real, gate: Gate, program: Callable[[str], Program], tmp_path: Path, closed: int | None
) -> None:
    """kill -9 while it sends: what was on its way arrives by the next one, once."""
    folder = tmp_path / "journal"
    process = program(gate.url).begin(END, f"settle_wait=100, journal={str(folder)!r}")
    run_id = process.line()
    gate.closed, gate.lost = closed, 10**6
    process.release()
    gate.wait_for("finish", 3)
    process.kill()
    gate.closed, gate.lost = None, 0
    (_,) = folder.glob("*.json")
    with Tollgate(gate.url, real.token, retry=QUICK, journal=folder):
        wait_until(lambda: real.run(run_id) == ("success", Decimal("0.031")))
        wait_until(lambda: not list(folder.iterdir()))


def test_a_run_in_the_journal_is_not_worked_on_again(
    real: Real, gate: Gate, tmp_path: Path
) -> None:
    """Its settlement has not arrived, so the service still takes it for a running one."""
    gate.only = "finish"
    first = Tollgate(gate.url, real.token, retry=QUICK, settle_wait=0.05, journal=tmp_path / "j")
    with paid(first, idempotency_key="job-17") as run:
        run.settle(cost_usd="0.031")
        gate.closed = 503
    first.close()
    with Tollgate(gate.url, real.token, retry=QUICK, journal=tmp_path / "j") as second:
        with pytest.raises(AlreadyEnded) as caught, paid(second, idempotency_key="job-17"):
            pytest.fail("worked twice")
        gate.closed = None
        wait_until(lambda: second.undelivered(run.id) is None)
    assert caught.value.cost_usd == Decimal("0.031")
    assert real.run(run.id) == ("success", Decimal("0.031"))


def test_several_processes_share_a_journal(
    real: Real, gate: Gate, program: Callable[[str], Program], tmp_path: Path
) -> None:
    folder = tmp_path / "journal"
    tollgate = Tollgate(gate.url, real.token, retry=QUICK, settle_wait=0, journal=folder)
    gate.closed, gate.only = 503, "finish"
    runs = []
    for number in range(8):
        with paid(tollgate) as run:
            run.settle(cost_usd=Decimal(number) / 1000)
        runs.append(run.id)
    assert len(list(folder.glob("*.json"))) == 8
    gate.closed = None
    others = [
        Program(gate.url, real.token, tmp_path / str(number)).begin(
            "while tollgate.settler._queue: time.sleep(0.01)\n",
            f"journal={str(folder)!r}",
        )
        for number in range(3)
    ]
    assert [other.ended().code for other in others] == [0, 0, 0]
    tollgate.close()
    assert not list(folder.iterdir())
    for number, run_id in enumerate(runs):
        assert real.run(run_id) == ("success", Decimal(number) / 1000)


JUNK = [
    b"",
    b"{",
    b"\xff\xfe",
    b"[]",
    b"[" * 30_000,
    b'{"version": 99}',
    b'{"version": 1, "url": "x"}',
    b'{"version": 1, "url": "u", "runId": "\\ud800", "body": {}, "token": "", "written": 1e400}',
]


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
def test_what_is_torn_is_set_aside(real: Real, gate: Gate, tmp_path: Path, junk: bytes) -> None:
    folder = tmp_path / "journal"
    with Tollgate(gate.url, real.token, retry=QUICK, settle_wait=0, journal=folder) as tollgate:
        with paid(tollgate) as run:
            run.settle(cost_usd="0.01")
            gate.closed = 503
        (entry,) = folder.iterdir()
        whole = entry.read_bytes()
        gate.closed = None
        assert tollgate.flush(HANG_SECONDS) == 0
    (folder / "0torn.json").write_bytes(junk)
    (folder / "1cut.json").write_bytes(whole[: len(whole) // 2])
    (folder / "half.json.1.2.part").write_bytes(whole[:10])
    entry.write_bytes(whole)
    with Tollgate(gate.url, real.token, retry=QUICK, journal=folder):
        wait_until(lambda: not entry.exists())
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["0torn.unreadable", "1cut.unreadable", "half.json.1.2.part"]
    assert real.run(run.id) == ("success", Decimal("0.01"))


def test_entries_of_others_are_left(real: Real, gate: Gate, tmp_path: Path) -> None:
    """Of another service; and of another token, to which the run does not exist (404)."""
    folder = tmp_path / "journal"
    tollgate = Tollgate(gate.url, real.token, retry=QUICK, settle_wait=0, journal=folder)
    with paid(tollgate) as run:
        run.settle(cost_usd="0.01")
        gate.closed = 401
    (entry,) = folder.iterdir()
    data = json.loads(entry.read_text())
    gate.closed = 503
    tollgate.close()
    entry.write_text(json.dumps({**data, "token": "somebody's"}))
    gate.closed = None
    stranger = "tg_" + "x" * 43
    asked = gate.asked("finish")
    with Tollgate(gate.url, stranger, retry=QUICK, journal=folder) as other:
        gate.wait_for("finish", asked + 1)
        wait_until(lambda: not other.settler._queue)
    assert entry.exists()
    with Tollgate(real.url, real.token, retry=QUICK, journal=folder):
        stays(entry.exists, 0.1)  # another address
    with Tollgate(gate.url, real.token, retry=QUICK, journal=folder):
        wait_until(lambda: not entry.exists())
    assert real.run(run.id) == ("success", Decimal("0.01"))


def test_a_full_disk_fails_no_paid_work(
    real: Real, gate: Gate, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "journal"
    with (
        Tollgate(gate.url, real.token, retry=QUICK, journal=folder) as tollgate,
        paid(tollgate) as run,
    ):
        run.settle(cost_usd="0.01")
        folder.rmdir()
    assert "is not in the journal" in caplog.text
    assert real.run(run.id) == ("success", Decimal("0.01"))


def test_a_folder_that_others_may_write_to_is_refused(real: Real, tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ValueError, match="writable by you alone"):
        Tollgate(real.url, real.token, journal=folder)


def test_the_usual_place_of_the_journal(
    real: Real, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with Tollgate(real.url, real.token, journal=True) as tollgate, paid(tollgate) as run:
        run.settle(cost_usd="0.01")
    assert (tmp_path / "tollgate").is_dir()
    assert not os.listdir(tmp_path / "tollgate")
