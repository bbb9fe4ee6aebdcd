"""`seal_events`, `verify_events`, `rotate_seal_key` as people run them; the metric."""

from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from pytest_django import Settings

from config.metrics import GAUGES, NAMES
from opslog import checks
from opslog.models import OperationsEvent, SealKey
from opslog.sealing.selectors import last_verification, seal_of
from tests.sealing.scene import Sealed, log_ids
from tests.trail import trail


def test_nothing_was_altered(sealed: Sealed, capsys: pytest.CaptureFixture[str]) -> None:
    sealed.write(3)
    call_command("seal_events")
    assert "3 events in 1 new seals" in capsys.readouterr().out
    call_command("verify_events")
    output = capsys.readouterr().out
    assert "3 events: 3 as sealed, 0 not sealed yet." in output
    assert "Nothing was altered." in output
    verification = last_verification()
    assert verification is not None
    assert trail("EVENTS_VERIFIED") == [("EVENTS_VERIFIED", "", "verify_events")]
    assert verification.meta["findings"] == {}
    assert verification.meta["through"] == 1


def test_a_finding_ends_it_with_one(sealed: Sealed, capsys: pytest.CaptureFixture[str]) -> None:
    sealed.seal(3)
    event = log_ids()[1]
    sealed.tamper(f"UPDATE operations_events SET actor = '[red]x' WHERE id = {event}")
    with pytest.raises(CommandError) as refused:
        call_command("verify_events")
    assert refused.value.returncode == 1
    output = capsys.readouterr().out
    assert "modified" in output
    assert f"event #{event} is not as sealed" in output
    verification = last_verification()
    assert verification is not None
    assert verification.meta["findings"] == {"modified": 1}


def test_nothing_is_written_where_that_is_wanted(sealed: Sealed) -> None:
    sealed.seal(1)
    call_command("verify_events", "--no-record")
    assert OperationsEvent.objects.count() == 1


def test_a_copy_of_the_head_file(sealed: Sealed, tmp_path: Path) -> None:
    """The auditor's own, of an earlier day; the one on the machine counts for nothing then."""
    sealed.seal(1, 1)
    copy = tmp_path / "mine.jsonl"
    copy.write_bytes(sealed.heads_file.read_bytes())
    sealed.seal(1)
    call_command("verify_events", "--heads", str(copy), "--no-record")
    sealed.heads_file.write_bytes(b"")
    sealed.tamper(
        "DELETE FROM seal_members",
        "DELETE FROM seals",
        "DELETE FROM operations_events",
    )
    with pytest.raises(CommandError):
        call_command("verify_events", "--heads", str(copy), "--no-record")
    with pytest.raises(CommandError, match="There is no head file"):
        call_command("verify_events", "--heads", str(tmp_path / "none"))


def test_without_anything_outside(sealed: Sealed, capsys: pytest.CaptureFixture[str]) -> None:
    """What is in the database vouches for itself to nobody."""
    sealed.seal(1)
    sealed.heads_file.unlink()
    sealed.key_file.unlink()
    with pytest.raises(CommandError):
        call_command("verify_events", "--no-record")
    captured = capsys.readouterr()
    assert "unknown key" in captured.out
    assert "vouches" in captured.err
    key = bytes(SealKey.objects.get().public_key).hex()
    call_command("verify_events", "--no-record", "--key", key)


@pytest.mark.parametrize(
    "wrong", [["--key", "00"], ["--key", "zz" * 32], ["--max-delay", "0"], ["--max-delay", "x"]]
)
def test_what_the_command_line_refuses(wrong: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("verify_events", *wrong)


def test_the_key_is_rotated(sealed: Sealed, capsys: pytest.CaptureFixture[str]) -> None:
    sealed.seal(1)
    call_command("rotate_seal_key", "--reason", "the year is over")
    output = capsys.readouterr().out
    assert "Generation 2" in output
    assert sealed.key_file.read_text() not in output


def test_the_age_of_what_is_not_sealed(sealed: Sealed) -> None:
    place = [name for name, _ in NAMES].index("tollgate_unsealed_age_seconds")

    def age() -> float:
        with connection.cursor() as cursor:
            cursor.execute(GAUGES)
            return float(cursor.fetchone()[place])

    assert age() == 0
    sealed.write(1)
    assert age() > 0
    sealed.seal()
    assert age() == 0
    with sealed.app() as writer:
        writer.execute("BEGIN")
        writer.execute("INSERT INTO operations_events (kind) VALUES ('LATE')")
        sealed.seal(1)
        writer.execute("COMMIT")
    assert age() > 0
    sealed.seal()
    assert age() == 0


def test_which_seal_holds_an_event(sealed: Sealed) -> None:
    sealed.seal(2, 2)
    [waiting] = sealed.write(1)
    numbers = [found.number if (found := seal_of(each)) else None for each in log_ids()]
    assert numbers == [1, 1, 2, 2, None]
    assert seal_of(waiting) is None


@pytest.mark.parametrize(("key", "file", "warns"), [("", "", 1), ("00", "", 0), ("", "x", 0)])
def test_a_deploy_where_nobody_seals(
    db: None, key: str, file: str, warns: int, settings: Settings
) -> None:
    """Against a real database, and `check --deploy`: tests/platform/test_deploy_checks.py."""
    settings.TOLLGATE_SEAL_SECRET_KEY, settings.TOLLGATE_SEAL_KEY_FILE = key, file
    assert len(checks.the_log_is_sealed()) == warns
