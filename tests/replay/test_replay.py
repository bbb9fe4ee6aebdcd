"""The replay end to end: a real trace, the real server, a real database, the real client."""

import gzip
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from django.core.management import CommandError, call_command

from budgets.demo.replay.fixture import Caps, prepare
from budgets.demo.seeding import TRACE
from config.run.scratch import ScratchService, scratch_service
from opslog.database.another_database import connected_to

SABOTAGE = """
CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.runs := 0; NEW.open_runs := 0; NEW.reserved_usd := 0; NEW.settled_usd := 0;
    RETURN NEW;
END $$;
CREATE TRIGGER forget BEFORE UPDATE ON counters FOR EACH ROW EXECUTE FUNCTION forget();
"""


def shown(text: str) -> dict[str, str]:
    """The rows of the table at the end."""
    rows = (line.strip("│ ").split("│") for line in text.splitlines() if line.startswith("│"))
    return {name.strip(): value.strip() for name, value in rows}


def test_a_trace_on_a_server_of_its_own(
    committed_db: str, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command(
        "replay", str(TRACE), "--limit=150", "--speed=600", "--caps=runs=25,usd=0.10", "--workers=8"
    )
    table = shown(capsys.readouterr().out)
    refused = {name: int(count) for name, count in table.items() if name.startswith("refused")}
    assert int(table["asked"]) == 150
    assert int(table["admitted"]) + sum(refused.values()) == 150
    assert refused["refused: usd_per_day"] > 0
    assert table["over the caps"] == "none"
    reserved, settled = (Decimal(table[name].strip("$")) for name in ("reserved", "settled"))
    assert 0 < settled < reserved
    assert table["sum of the runs"] == table["sum of the counters"]
    assert Decimal(table["sum of the runs"].strip("$")) == settled


@pytest.fixture
def running(committed_db: str, pristine_database: str) -> Iterator[ScratchService]:
    with scratch_service(template=pristine_database, workers=1) as service:
        yield service


def test_against_a_running_server_whose_guard_is_gone_it_says_so(
    running: ScratchService, capsys: pytest.CaptureFixture[str]
) -> None:
    with connected_to(running.database):
        token = prepare(["only"], ["agent"], Caps(10, Decimal("2.00"), 2))
    replay = ["replay", str(TRACE), "--speed=600", f"--url={running.url}", f"--token={token}"]
    call_command(*replay, "--limit=30")
    table = shown(capsys.readouterr().out)
    assert 0 < int(table["admitted"]) <= 10
    assert table["over the caps"] == "none"
    with psycopg.connect(running.owner_url) as owner:
        owner.execute(SABOTAGE)
    with pytest.raises(SystemExit) as caught:
        call_command(*replay, "--limit=40")
    assert caught.value.code == 1
    out = capsys.readouterr().out
    assert "OVER: only" in out
    assert "runs/day" in out
    assert int(shown(out)["admitted"]) == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.csv"], "No such file"),
        ([str(TRACE), "--speed=0"], "above 0"),
        ([str(TRACE), "--limit=some"], "above 0"),
        ([str(TRACE), "--caps=runs=1"], "is not like"),
        ([str(TRACE), "--caps=runs=1,usd=NaN"], "is not like"),
        ([str(TRACE), "--caps=runs=1,usd=2.001"], "is not like"),
        ([str(TRACE), "--caps=runs=1,usd=2", "--url=http://127.0.0.1:1"], "leave it out"),
        ([str(TRACE), "--url=127.0.0.1", "--token=t"], "needs a URL"),
        ([str(TRACE), "--url=http://127.0.0.1:1"], "needs a service token"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOLLGATE_TOKEN", raising=False)
    with pytest.raises(CommandError, match=message) as caught:
        call_command("replay", *arguments)
    assert "\n" not in str(caught.value)


def test_a_trace_that_breaks_later_is_found_before_anything_starts(tmp_path: Path) -> None:
    lines = gzip.decompress(TRACE.read_bytes()).splitlines()[:100]
    path = tmp_path / "broken.csv"
    path.write_bytes(b"\n".join([*lines, b"nonsense"]))
    with pytest.raises(CommandError, match=r"broken\.csv:101: 1 fields are too few"):
        call_command("replay", str(path))
