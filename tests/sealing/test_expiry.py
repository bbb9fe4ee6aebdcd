"""A month that the owner drops is gone lawfully; one that somebody else drops is not."""

from datetime import date

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, connections
from django.utils import timezone

from opslog.exceptions import NotAllowedNow
from opslog.models import EventTombstone, OperationsEvent
from opslog.sealing import expiry, keys
from tests.sealing.scene import Sealed, kinds, log_ids

SINCE = "tollgate.ensure_event_partitions_v1((current_date - interval '3 months')::date)"
EARLIER = "created_at = date_trunc('month', now(), 'UTC') - interval '40 days'"


@pytest.fixture
def aged(sealed: Sealed) -> Sealed:
    """Three events of an earlier month and two of this one, sealed."""
    old = sealed.write(3)
    sealed.tamper(
        f"SELECT {SINCE}",
        f"UPDATE operations_events SET {EARLIER} WHERE id <= {old[-1]}",
    )
    sealed.seal()
    sealed.seal(2)
    assert sealed.verify().findings == []
    return sealed


def month_of(aged: Sealed) -> expiry.Month:
    oldest = OperationsEvent.objects.earliest("created_at").created_at
    return next(each for each in months() if each.begin <= oldest < each.end)


def months() -> list[expiry.Month]:
    now = timezone.now()
    return expiry.months(before=now.date().replace(day=1), now=now)


def expire(month: expiry.Month) -> EventTombstone:
    return expiry.expire(month, by="somebody", reason="kept long enough", now=timezone.now())


def test_lawfully_expired(aged: Sealed) -> None:
    month = month_of(aged)
    stone = expire(month)
    assert (stone.event_count, stone.seal_count) == (3, 1)
    assert len(log_ids()) == 3  # two, and the one that tells of it
    aged.seal()
    report = aged.verify()
    assert report.findings == []
    assert (report.expired, report.expired_months) == (3, [str(month)])
    event = OperationsEvent.objects.get(kind="EVENTS_EXPIRED")
    assert event.meta["events"] == 3
    assert event.meta["reason"] == "kept long enough"


def test_dropped_without_a_tombstone(aged: Sealed) -> None:
    aged.tamper(f"DROP TABLE {month_of(aged).partition}")
    report = aged.verify()
    assert kinds(report) == {"deleted"}
    assert report.expired == 0


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("month = month - interval '1 month'", {"bad signature", "deleted"}),
        ("event_count = 4", {"bad signature", "deleted"}),
        ("reason = 'other'", {"bad signature", "deleted"}),
        ("signature = sha512('x')", {"bad signature", "deleted"}),
        ("key_id = 'unknown'", {"unknown key", "deleted"}),
    ],
)
def test_a_tombstone_that_was_changed(aged: Sealed, change: str, found: set[str]) -> None:
    expire(month_of(aged))
    aged.tamper(f"UPDATE event_tombstones SET {change}")
    assert kinds(aged.verify()) == found


def test_a_tombstone_that_was_removed(aged: Sealed) -> None:
    expire(month_of(aged))
    aged.tamper("DELETE FROM event_tombstones")
    assert kinds(aged.verify()) == {"deleted"}


def test_what_is_not_sealed_does_not_expire(aged: Sealed) -> None:
    month = month_of(aged)
    aged.tamper(
        f"INSERT INTO {month.partition} (kind, xact, created_at) SELECT 'LATE', xact, created_at"
        f" FROM {month.partition} LIMIT 1"
    )
    with pytest.raises(NotAllowedNow, match="no seal"):
        expire(month)
    assert EventTombstone.objects.count() == 0
    assert len(log_ids()) == 6


@pytest.mark.parametrize(
    "statement",
    ["UPDATE {} SET actor = 'x' WHERE id = 1", "DELETE FROM {} WHERE id = 1"],
)
def test_what_is_not_as_sealed_does_not_expire(aged: Sealed, statement: str) -> None:
    """Or an expiry would bury what was done."""
    month = month_of(aged)
    aged.tamper(statement.format(month.partition))
    with pytest.raises(NotAllowedNow, match="verify_events"):
        expire(month)
    assert kinds(aged.verify()) & {"modified", "deleted"}


def test_without_the_key_nothing_expires(aged: Sealed) -> None:
    aged.key_file.unlink()
    with pytest.raises(keys.NoKey):
        expire(month_of(aged))


def test_the_present_month_does_not_expire(aged: Sealed) -> None:
    now = timezone.now()
    found = expiry.months(before=date(now.year + 1, 1, 1), now=now)
    assert found
    assert all(each.end <= now for each in found)


def test_it_gives_way_to_who_uses_the_log(aged: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits behind it for long; it gives up, and nothing is left of it."""
    monkeypatch.setattr(expiry, "PATIENCE_MS", 20)
    monkeypatch.setattr(expiry, "ATTEMPTS", 3)
    month = month_of(aged)
    with aged.app() as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM operations_events")
        with pytest.raises(NotAllowedNow, match="too busy"):
            expire(month)
        other.execute("ROLLBACK")
    assert EventTombstone.objects.count() == 0
    expire(month)


def test_the_application_cannot(aged: Sealed) -> None:
    with connection.cursor() as cursor, pytest.raises(Exception, match="must be owner"):
        cursor.execute(f"DROP TABLE {month_of(aged).partition}")


def test_the_command(aged: Sealed, capsys: pytest.CaptureFixture[str]) -> None:
    before = f"{timezone.now():%Y-%m}"
    call_command("expire_events", "--before", before)
    assert "would be dropped" in capsys.readouterr().out
    assert len(log_ids()) == 5
    with pytest.raises(CommandError, match="--reason"):
        call_command("expire_events", "--before", before, "--apply")
    call_command("expire_events", "--before", before, "--apply", "--reason", "kept long enough")
    assert "3 events dropped" in capsys.readouterr().out
    assert months() == []
    call_command("expire_events", "--before", before)
    assert "There is no month" in capsys.readouterr().out
    with connections["owner"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM event_tombstones")
        assert cursor.fetchone()[0] >= 1
