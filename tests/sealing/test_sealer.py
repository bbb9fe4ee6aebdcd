"""The sealer: what it seals, when, and what happens if it is stopped or not alone."""

import threading
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections
from django.utils import timezone

from opslog.models import Heartbeat, Seal, SealMembers
from opslog.seal_format.statements import Signer
from opslog.sealing import heads, keys, sealer
from tests.sealing.scene import Sealed, insert, kinds, log_ids, run_all, sign_anew


def members() -> list[int]:
    return [each for row in SealMembers.objects.order_by("seal_id") for each in row.event_ids]


def test_all_committed_events_are_sealed_once(sealed: Sealed) -> None:
    sealed.seal(3, 4)
    sealed.seal()
    assert members() == log_ids()
    assert list(Seal.objects.order_by("number").values_list("number", flat=True)) == [1, 2]
    report = sealed.verify()
    assert report.findings == []
    assert (report.events, report.sealed, report.unsealed) == (7, 7, 0)
    assert (report.seals, report.head) == (2, 2)


def test_what_commits_late_is_in_the_next_seal(sealed: Sealed) -> None:
    """It has a lower id, and a lower transaction, than what is sealed already; it is not missed,
    and nobody waits for it."""
    with sealed.app() as writer:
        writer.execute("BEGIN")
        late = insert(writer)
        after = sealed.write(3)
        sealed.seal()
        assert members() == after
        assert late < after[0]
        assert sealed.verify().findings == []
        writer.execute("COMMIT")
    report = sealed.verify()
    assert (report.unsealed, report.findings) == (1, [])
    sealed.seal()
    assert members() == [*after, late]
    assert sealed.verify().findings == []


def test_what_commits_late_is_no_delay(sealed: Sealed) -> None:
    """Its event is older than is allowed, but it is not there for longer than that."""
    with sealed.app() as writer:
        writer.execute("BEGIN")
        insert(writer)
        sealed.seal(1)
        writer.execute("COMMIT")
    assert sealed.verify(too_long=timedelta(seconds=5)).findings == []


def test_what_is_rolled_back_is_not_waited_for(sealed: Sealed) -> None:
    with sealed.app() as writer:
        writer.execute("BEGIN")
        gone = insert(writer)
        sealed.seal(2)
        writer.execute("ROLLBACK")
    sealed.seal(1)
    assert members() == log_ids()
    assert gone not in members()
    assert sealed.verify().findings == []


def test_the_control_a_highest_id_would_lose_an_event(sealed: Sealed) -> None:
    """Why it is not asked for ids beyond the last sealed one."""
    with sealed.app() as writer:
        writer.execute("BEGIN")
        late = insert(writer)
        sealed.seal(2)
        highest = max(members())
        writer.execute("COMMIT")
    assert [each for each in log_ids() if each > highest] == []
    assert late in set(log_ids()) - set(members())


def test_what_is_written_by_sql_is_sealed_as_it_is(sealed: Sealed) -> None:
    with sealed.app() as writer:
        written = insert(writer, "NOTE")
    sealed.seal()
    assert members() == [written]


def test_an_hour_without_events_has_a_seal_too(
    sealed: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed.seal(1)
    sealed.seal()
    assert Seal.objects.count() == 1
    # The time is the database's, which no test can turn: so the hour is shorter.
    monkeypatch.setattr(sealer, "HEARTBEAT", timedelta(0))
    sealed.seal()
    empty = Seal.objects.get(number=2)
    assert empty.event_count == 0
    assert sealed.verify().findings == []
    assert not SealMembers.objects.filter(pk=2).exists()


def test_a_silent_sealer_is_found(sealed: Sealed) -> None:
    sealed.seal(1)
    sealed.write(1)
    sealed.tamper("UPDATE operations_events SET created_at = created_at - interval '1 second'")
    Heartbeat.objects.filter(name=sealer.SEALER).update(at=timezone.now() - timedelta(hours=1))
    report = sealed.verify(too_long=timedelta(milliseconds=1))
    assert "unsealed too long" in kinds(report)


def test_a_forged_sign_of_life_does_not_hide_it_for_long(sealed: Sealed) -> None:
    """Its row can be written by anybody; so a seal an hour is asked for besides."""
    sealed.seal(1)
    sealed.tamper("UPDATE seals SET sealed_at = sealed_at - interval '2 hours'")
    Heartbeat.objects.filter(name=sealer.SEALER).update(at=timezone.now())
    assert "unsealed too long" in kinds(sealed.verify())


def test_no_seal_has_events_of_two_months(sealed: Sealed) -> None:
    sealed.write(4)
    sealed.tamper(
        "SELECT tollgate.ensure_event_partitions_v1((current_date - interval '3 months')::date)",
        "UPDATE operations_events SET created_at = created_at - interval '2 months'"
        " WHERE id % 2 = 0",
    )
    sealed.seal()
    held = [sorted(each) for each in SealMembers.objects.values_list("event_ids", flat=True)]
    assert sorted(map(len, held)) == [2, 2]
    assert sealed.verify().findings == []


def test_large_batches_are_cut(sealed: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer, "MOST_EVENTS", 3)
    sealed.seal(8)
    assert list(Seal.objects.order_by("number").values_list("event_count", flat=True)) == [3, 3, 2]
    assert sealed.verify().findings == []


def test_a_backlog_is_sealed_in_windows(sealed: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is between two windows is neither lost nor sealed twice."""
    monkeypatch.setattr(sealer, "WINDOW", 2)
    with sealed.app() as writer:
        writer.execute("BEGIN")
        insert(writer)
        sealed.write(7)
        sealed.seal()
        writer.execute("COMMIT")
    sealed.seal()
    assert sorted(members()) == log_ids()
    assert Seal.objects.count() > 4
    assert sealed.verify().findings == []


def test_a_window_that_is_left_in_the_middle(
    sealed: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sealer dies after a seal is written and before it is committed: nothing is left of it."""
    sealed.seal(2)
    sealed.write(3)
    with monkeypatch.context() as patched:
        patched.setattr(sealer, "SealMembers", SimpleNamespace(objects=SimpleNamespace(create=die)))
        with pytest.raises(Died):
            sealer.seal()
    assert Seal.objects.count() == 1
    assert sealed.verify().findings == []
    sealed.seal()
    assert members() == log_ids()


def test_a_sealer_killed_before_its_head_is_outside(
    sealed: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seal is committed; the next turn writes the line."""
    sealed.write(2)
    with monkeypatch.context() as patched:
        patched.setattr(heads, "bring_up_to_date", die)
        with pytest.raises(Died):
            sealer.seal()
    assert not sealed.heads_file.exists()
    sealed.seal()
    assert [head.number for head in heads_of(sealed)] == [1]


def test_a_line_that_was_torn(sealed: Sealed) -> None:
    """The machine stopped while the file was written: the line is written again, whole."""
    sealed.seal(1, 1)
    whole = sealed.heads_file.read_bytes()
    sealed.heads_file.write_bytes(whole[:-100])
    sealed.seal()
    report = sealed.verify()
    assert report.findings == []
    assert (report.unreadable_heads, report.head) == (1, 2)
    assert [head.number for head in heads_of(sealed)] == [1, 2]


class Died(Exception):
    pass


def die(*args: object, **kwargs: object) -> None:
    raise Died


def heads_of(sealed: Sealed) -> list[heads.Head]:
    lines = sealed.heads_file.read_bytes().splitlines()
    return [head for line in lines if (head := heads.Head.parse(line))]


def test_two_sealers_at_once(sealed: Sealed) -> None:
    sealed.write(20)
    turns: list[sealer.Turn] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        turns.extend(sealer.seal() for _ in range(5))
        connections.close_all()

    run_all([work] * 4)
    assert sum(turn.events for turn in turns) == 20
    assert sorted(members()) == log_ids()
    assert sealed.verify().findings == []
    assert [head.number for head in heads_of(sealed)] == list(
        Seal.objects.order_by("number").values_list("number", flat=True)
    )


def test_a_second_sealer_does_not_wait(sealed: Sealed) -> None:
    sealed.write(1)
    with sealed.app() as other:
        other.execute("BEGIN")
        other.execute("SELECT pg_advisory_xact_lock(%s)", [keys.LOCK])
        assert sealer.seal().busy
        assert Seal.objects.count() == 0
        other.execute("ROLLBACK")
    assert sealer.seal().events == 1


def test_no_admission_waits_for_the_sealer(sealed: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a seal is being written, events are, and nothing of the log is locked."""
    sealed.write(2)
    seen: list[set[str]] = []

    def look(**kwargs: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT DISTINCT mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
                " WHERE l.pid = pg_backend_pid() AND c.relname LIKE 'operations_events%%'"
            )
            seen.append({mode for (mode,) in cursor.fetchall()})
        with sealed.app() as writer:
            writer.execute("SET lock_timeout = 100")
            insert(writer)
        return SealMembers.objects.create(**kwargs)

    patched = SimpleNamespace(objects=SimpleNamespace(create=look))
    monkeypatch.setattr(sealer, "SealMembers", patched)
    assert sealer.seal().events == 2
    assert seen == [{"AccessShareLock"}]


def test_restored_where_transactions_count_lower(sealed: Sealed) -> None:
    """A dump brought to another server: old events have numbers of transactions that come again."""
    far = 10**9
    with sealed.app() as writer:
        writer.execute("BEGIN")
        insert(writer)
        sealed.seal(3)
        writer.execute("COMMIT")
    sealed.write(1)  # this and the late one are without a seal at the time of the dump
    sealed.tamper(f"UPDATE operations_events SET xact = xact + {far}")
    sign_anew(sealed, Signer.from_text(sealed.key_file.read_text()), shift=far)
    sealed.heads_file.unlink()
    old = log_ids()
    new = sealed.write(2)
    sealed.seal()
    assert sorted(members()) == sorted(old + new)
    newest = sealed.write(3)
    sealed.seal()
    assert sorted(members()) == sorted(old + new + newest)
    assert sealed.verify().findings == []
    assert Seal.objects.latest("number").after_id == max(old)
    sealed.tamper(f"INSERT INTO operations_events (id, kind, xact) VALUES (-7, 'X', {far // 2})")
    assert kinds(sealed.verify()) == {"inserted"}


def test_without_a_key_nothing_is_sealed(sealed: Sealed, settings: Any) -> None:
    settings.TOLLGATE_SEAL_KEY_FILE = ""
    sealed.write(1)
    with pytest.raises(keys.NoKey):
        sealer.seal()
    assert Seal.objects.count() == 0
    settings.TOLLGATE_SEAL_KEY_FILE = str(sealed.key_file)
    assert sealer.seal().events == 1


@pytest.mark.parametrize("alias", ["default", "owner"])
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_the_tables_are_append_only(sealed: Sealed, alias: str, statement: str) -> None:
    sealed.seal(1)
    for table in ("seal_members", "seals", "seal_keys"):
        with (
            connections[alias].cursor() as cursor,
            pytest.raises(DatabaseError, match=r"is append-only|permission denied"),
        ):
            cursor.execute(statement.format(table))


def test_the_chain_is_held_by_the_database(sealed: Sealed) -> None:
    sealed.seal(1)
    last = Seal.objects.get()
    for number, previous in ((1, last.previous), (3, last.hash), (2, last.previous)):
        last.number, last.previous = number, previous
        with pytest.raises(Exception, match="seal"):
            last.save(force_insert=True)
