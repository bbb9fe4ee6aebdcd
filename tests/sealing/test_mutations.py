"""Whatever is done to a sealed log, by whoever rules the database, is found, and called by name.

The corpus: seals 1 to 3 (3, 4 and 5 events), a change of the key, seals 4 and 5 (4 and 3 events).
"""

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.db import connection
from django.test import override_settings
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from config.run.scratch import owner_sql
from opslog.models import Seal, SealKey, SealMembers
from opslog.seal_format import merkle
from opslog.seal_format.statements import Signer
from opslog.sealing import heads, keys, sealer
from tests.sealing.scene import (
    Sealed,
    connected_to,
    files_in,
    kinds,
    leaves_now,
    log_ids,
    ruled,
    sign_anew,
)

SIZES_BEFORE, SIZES_AFTER = (3, 4, 5), (4, 3)
PLACES = {"head": 0, "middle": 8, "before the new key": 11, "tail": -1}


@dataclass
class Corpus:
    sealed: Sealed
    ids: list[int]

    def at(self, place: str) -> int:
        return self.ids[PLACES[place]]


@pytest.fixture(scope="module")
def prepared(
    pristine_database: str,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Corpus]:
    """The corpus, made once; each test gets a copy of the database and of the files."""
    name, folder = f"{pristine_database}_corpus", tmp_path_factory.mktemp("corpus")
    owner_sql("CREATE DATABASE {} TEMPLATE {}", name, pristine_database)
    with django_db_blocker.unblock(), connected_to(name), override_settings(**files_in(folder)):
        sealed = Sealed(folder, name)
        sealed.seal(*SIZES_BEFORE)
        (folder / "stolen").write_text(sealed.key_file.read_text())
        keys.rotate(by="somebody", reason="the year is over", now=timezone.now())
        sealed.seal(*SIZES_AFTER)  # the first of them holds the event of the rotation too
        assert sealed.verify().findings == []
        ids = log_ids()
        assert len(ids) == 20
    yield Corpus(sealed, ids)
    owner_sql("DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def corpus(
    prepared: Corpus, django_db_blocker: DjangoDbBlocker, tmp_path: Path
) -> Iterator[Corpus]:
    """Ours for the length of a transaction."""
    folder = tmp_path / "files"
    shutil.copytree(prepared.sealed.folder, folder)
    database = prepared.sealed.database
    with django_db_blocker.unblock(), ruled(database), override_settings(**files_in(folder)):
        yield Corpus(Sealed(folder, database), prepared.ids)


@pytest.fixture
def committed(
    prepared: Corpus, django_db_blocker: DjangoDbBlocker, tmp_path: Path
) -> Iterator[Corpus]:
    """A copy of it, where what is done is committed."""
    name, folder = f"{prepared.sealed.database}_{secrets.token_hex(4)}", tmp_path / "files"
    shutil.copytree(prepared.sealed.folder, folder)
    owner_sql("CREATE DATABASE {} TEMPLATE {}", name, prepared.sealed.database)
    with django_db_blocker.unblock(), connected_to(name), override_settings(**files_in(folder)):
        yield Corpus(Sealed(folder, name), prepared.ids)
    owner_sql("DROP DATABASE {} WITH (FORCE)", name)


def found(corpus: Corpus) -> dict[str, set[int]]:
    """Kind → ids of events that it reports."""
    data: dict[str, set[int]] = {}
    for each in corpus.sealed.verify().findings:
        data.setdefault(each.kind.value, set()).update(each.events)
    return data


COLUMNS = {
    "kind": "'OTHER'",
    "message": "message || ' '",
    "owner_type": "'agent'",
    "owner_id": "owner_id || '0'",
    "owner_label": "'other'",
    "actor": "'nobody'",
    "meta": """meta || '{"cap": "3.00"}'""",
    "request_id": "'other'",
    "db_user": "'other'",
    "xact": "xact + 1",
    "created_at": "created_at - interval '1 microsecond'",
}


@pytest.mark.parametrize("column", COLUMNS)
def test_any_column_that_is_modified(corpus: Corpus, column: str) -> None:
    event = corpus.at("middle")
    corpus.sealed.tamper(
        f"UPDATE operations_events SET {column} = {COLUMNS[column]} WHERE id = {event}"
    )
    assert found(corpus) == {"modified": {event}}


@pytest.mark.parametrize("place", PLACES)
def test_modified_anywhere(corpus: Corpus, place: str) -> None:
    event = corpus.at(place)
    corpus.sealed.tamper(f"UPDATE operations_events SET actor = 'nobody' WHERE id = {event}")
    assert found(corpus) == {"modified": {event}}


def test_the_whole_table_modified(corpus: Corpus) -> None:
    corpus.sealed.tamper("UPDATE operations_events SET actor = 'nobody'")
    assert found(corpus) == {"modified": set(corpus.ids)}


def test_a_number_in_meta_keeps_its_digits(corpus: Corpus) -> None:
    """1 and 1.0 are the same number to some, and not the same text."""
    event = corpus.at("middle")
    corpus.sealed.tamper(
        "UPDATE operations_events SET meta = jsonb_set(meta, '{n}', '1.0') "
        f"WHERE id = {event} AND meta->>'n' = '1'"
    )
    assert found(corpus) == {"modified": {event}}


@pytest.mark.parametrize("place", PLACES)
def test_deleted_anywhere(corpus: Corpus, place: str) -> None:
    event = corpus.at(place)
    corpus.sealed.tamper(f"DELETE FROM operations_events WHERE id = {event}")
    assert found(corpus) == {"deleted": {event}}


def test_a_whole_seal_deleted(corpus: Corpus) -> None:
    gone = corpus.ids[3:7]
    corpus.sealed.tamper(f"DELETE FROM operations_events WHERE id IN ({ids(gone)})")
    assert found(corpus) == {"deleted": set(gone)}


def test_the_whole_table_deleted(corpus: Corpus) -> None:
    corpus.sealed.tamper("DELETE FROM operations_events")
    assert found(corpus) == {"deleted": set(corpus.ids)}


def test_a_partition_dropped(corpus: Corpus) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(tableoid::regclass::text) FROM operations_events")
        (month,) = cursor.fetchone()
    corpus.sealed.tamper(f"DROP TABLE {month}")
    assert found(corpus) == {"deleted": set(corpus.ids)}


COPY = (
    "INSERT INTO operations_events (id, kind, message, owner_type, owner_id, actor, meta, db_user,"
    " xact, created_at) SELECT {id}, kind, 'forged', owner_type, owner_id, actor, meta, db_user,"
    " {xact}, created_at FROM operations_events WHERE id = {like}"
)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("xact", ["xact", "0", "-5"])
def test_inserted_anywhere(corpus: Corpus, place: str, xact: str) -> None:
    like = corpus.at(place)
    corpus.sealed.tamper(COPY.format(id=5_000_000, xact=xact, like=like))
    assert found(corpus) == {"inserted": {5_000_000}}


def test_inserted_under_an_id_that_is_there(corpus: Corpus) -> None:
    """Before and after the true one."""
    event = corpus.at("middle")
    statement = COPY.format(id=event, xact="xact", like=event)
    for shift in ("- interval '1 microsecond'", "+ interval '1 microsecond'"):
        forged = statement.replace("created_at FROM", f"created_at {shift} FROM")
        corpus.sealed.tamper(f"{forged} AND message <> 'forged'")
    report = corpus.sealed.verify()
    assert kinds(report) == {"inserted"}
    assert report.findings[0].events == (event, event)
    assert report.sealed == len(corpus.ids)


def test_inserted_into_an_id_that_a_rollback_left_free(corpus: Corpus) -> None:
    corpus.sealed.tamper(COPY.format(id=-1, xact="xact", like=corpus.at("middle")))
    assert found(corpus) == {"inserted": {-1}}


@pytest.mark.parametrize(("one", "other"), [(0, 1), (0, -1), (2, 3), (11, 12), (7, 8)], ids=str)
def test_two_swapped(corpus: Corpus, one: int, other: int) -> None:
    """What they say is exchanged; within a seal, over a border, over the change of the key."""
    a, b = corpus.ids[one], corpus.ids[other]
    corpus.sealed.tamper(
        "UPDATE operations_events e SET kind = o.kind, message = o.message, meta = o.meta,"
        " owner_type = o.owner_type, owner_id = o.owner_id FROM operations_events o"
        f" WHERE (e.id, o.id) IN (({a}, {b}), ({b}, {a}))"
    )
    assert found(corpus) == {"modified": {a, b}}


def test_two_ids_swapped(corpus: Corpus) -> None:
    a, b = corpus.ids[4], corpus.ids[9]
    corpus.sealed.tamper(
        f"UPDATE operations_events SET id = -1 WHERE id = {a}",
        f"UPDATE operations_events SET id = {a} WHERE id = {b}",
        f"UPDATE operations_events SET id = {b} WHERE id = -1",
    )
    assert found(corpus) == {"modified": {a, b}}


def test_one_deleted_and_one_inserted(corpus: Corpus) -> None:
    event = corpus.at("middle")
    corpus.sealed.tamper(
        COPY.format(id=6_000_000, xact="xact", like=event),
        f"DELETE FROM operations_events WHERE id = {event}",
    )
    assert found(corpus) == {"deleted": {event}, "inserted": {6_000_000}}


# The seals themselves


def test_an_event_and_its_hash_modified(corpus: Corpus) -> None:
    """The list of hashes is only a help: the root in the seal counts."""
    event = corpus.at("middle")
    corpus.sealed.tamper(f"UPDATE operations_events SET actor = 'nobody' WHERE id = {event}")
    relist(corpus, SealMembers.objects.get(event_ids__contains=[event]).pk)
    assert found(corpus) == {"modified": set()}


def test_an_event_and_its_place_in_the_list_deleted(corpus: Corpus) -> None:
    event = corpus.at("middle")
    seal = SealMembers.objects.get(event_ids__contains=[event]).pk
    corpus.sealed.tamper(f"DELETE FROM operations_events WHERE id = {event}")
    relist(corpus, seal)
    assert found(corpus) == {"deleted": set()}


def test_an_event_inserted_into_a_list(corpus: Corpus) -> None:
    members = SealMembers.objects.get(pk=2)
    corpus.sealed.tamper(COPY.format(id=7_000_000, xact="xact", like=members.event_ids[0]))
    relist(corpus, 2, also=[7_000_000])
    assert found(corpus) == {"inserted": set()}


def test_two_of_a_list_swapped(corpus: Corpus) -> None:
    members = SealMembers.objects.get(pk=3)
    ids_now, hashes = members.event_ids, merkle.split(bytes(members.leaf_hashes))
    ids_now[0], ids_now[1] = ids_now[1], ids_now[0]
    hashes[0], hashes[1] = hashes[1], hashes[0]
    corpus.sealed.tamper(
        "UPDATE seal_members SET event_ids = %s, leaf_hashes = %s WHERE seal = 3",
        params=[ids_now, b"".join(hashes)],
    )
    assert found(corpus) == {"modified": set()}


SEAL_COLUMNS = {
    "root": "sha256('other')",
    "previous": "sha256('other')",
    "event_count": "event_count + 1",
    "first_id": "first_id - 1",
    "last_id": "last_id + 1",
    "events_from": "events_from - interval '1 microsecond'",
    "events_to": "events_to + interval '1 microsecond'",
    "sealed_at": "sealed_at - interval '1 microsecond'",
    "after_id": "after_id + 1",
    "encoding": "2",
    "signature": "sha512('other')",
    "hash": "sha256('other')",
}


@pytest.mark.parametrize("number", [1, 3, 5])
@pytest.mark.parametrize("column", SEAL_COLUMNS)
def test_any_column_of_a_seal_modified(corpus: Corpus, column: str, number: int) -> None:
    corpus.sealed.tamper(
        f"UPDATE seals SET {column} = {SEAL_COLUMNS[column]} WHERE number = {number}"
    )
    result = found(corpus)
    assert "bad signature" in result
    # Where the seal itself is another one, so is the hash by which others know it.
    assert set(result) <= {"bad signature", "behind the outside head", "missing seal range"}


@pytest.mark.parametrize(("first", "last"), [(1, 1), (2, 2), (2, 3), (3, 4), (1, 3)], ids=str)
def test_missing_seals(corpus: Corpus, first: int, last: int) -> None:
    """Adjacent ones too; what they held is not called inserted."""
    remove_seals(corpus, f"number BETWEEN {first} AND {last}")
    report = corpus.sealed.verify()
    assert kinds(report) == {"missing seal range"}
    assert report.findings[0].seal == first
    held = sum((3, 4, 5, 5, 3)[first - 1 : last])
    assert any(each.text.startswith(f"{held} events have no seal") for each in report.findings)


def test_a_list_that_is_gone(corpus: Corpus) -> None:
    corpus.sealed.tamper("DELETE FROM seal_members WHERE seal = 2")
    assert "missing seal range" in found(corpus)


def test_missing_seals_closed_up(corpus: Corpus) -> None:
    """Numbers moved down over the gap: no signature fits its number any more."""
    remove_seals(corpus, "number = 3")
    corpus.sealed.tamper("UPDATE seals SET number = number - 1 WHERE number > 3")
    corpus.sealed.tamper("UPDATE seal_members SET seal = seal - 1 WHERE seal > 3")
    assert "bad signature" in found(corpus)


def test_the_tail_cut_off(corpus: Corpus) -> None:
    """Seals and events alike, as if they had never been: only the outside head knows."""
    gone = SealMembers.objects.get(pk=5).event_ids
    remove_seals(corpus, "number = 5")
    corpus.sealed.tamper(f"DELETE FROM operations_events WHERE id IN ({ids(gone)})")
    assert found(corpus) == {"behind the outside head": set()}


def test_everything_gone(corpus: Corpus) -> None:
    remove_seals(corpus, "true")
    corpus.sealed.tamper("DELETE FROM operations_events", "DELETE FROM seal_keys")
    assert found(corpus) == {"behind the outside head": set()}


def test_the_tail_cut_off_and_sealed_again(committed: Corpus) -> None:
    """By the true sealer, with the true key: the numbers come again with other hashes."""
    gone = SealMembers.objects.get(pk=5).event_ids
    remove_seals(committed, "number >= 5")
    committed.sealed.tamper(f"DELETE FROM operations_events WHERE id IN ({ids(gone)})")
    committed.sealed.seal(2, 2)
    assert found(committed) == {"behind the outside head": set()}


def test_all_signed_anew_by_another_key(corpus: Corpus) -> None:
    """Who rules the database can make it agree with itself, under a key of his own."""
    corpus.sealed.tamper("UPDATE operations_events SET actor = 'nobody'")
    introduce(corpus, own := Signer.new())
    sign_anew(corpus.sealed, own)
    result = found(corpus)
    assert set(result) == {"unknown key", "behind the outside head"}
    # Control: by what is in the database alone, nothing would be seen.
    inside = {bytes(each.public_key) for each in SealKey.objects.all()}
    corpus.sealed.heads_file.unlink()
    assert corpus.sealed.verify(pinned=inside).findings == []


def test_a_seal_of_a_foreign_key_is_not_told_outside(committed: Corpus) -> None:
    before = committed.sealed.heads_file.read_bytes()
    introduce(committed, own := Signer.new())
    sign_anew(committed.sealed, own, upwards_from=5)
    committed.sealed.write(1)
    with pytest.raises(keys.NoKey):
        sealer.seal()
    committed.sealed.heads_file.write_bytes(b"".join(before.splitlines(keepends=True)[:4]))
    heads_then = committed.sealed.heads_file.read_bytes()
    assert heads.bring_up_to_date() == 0
    assert committed.sealed.heads_file.read_bytes() == heads_then


def test_a_seal_by_a_key_that_was_retired(corpus: Corpus) -> None:
    """The old key still signs well; it may not sign any more."""
    old = SealKey.objects.get(generation=1)
    stolen = Signer.from_text((corpus.sealed.folder / "stolen").read_text())
    assert stolen.public_key == bytes(old.public_key)
    last = Seal.objects.get(number=5)
    last.key_id = stolen.key_id
    statement = last.statement()
    corpus.sealed.tamper(
        "UPDATE seals SET key_id = %s, hash = %s, signature = %s WHERE number = 5",
        params=[stolen.key_id, statement.hash(), stolen.sign(statement.text())],
    )
    assert "bad signature" in found(corpus)


def remove_seals(corpus: Corpus, which: str) -> None:
    corpus.sealed.tamper(
        f"DELETE FROM seal_members WHERE seal IN (SELECT number FROM seals WHERE {which})",
        f"DELETE FROM seals WHERE {which}",
    )


def ids(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def relist(corpus: Corpus, seal: int, also: list[int] | None = None) -> None:
    """Make the list of a seal fit what is in the log."""
    wanted = SealMembers.objects.get(pk=seal).event_ids + (also or [])
    there = [each for each in wanted if each in log_ids()]
    corpus.sealed.tamper(
        "UPDATE seal_members SET event_ids = %s, leaf_hashes = %s WHERE seal = %s",
        params=[there, b"".join(leaves_now(there)), seal],
    )


def introduce(corpus: Corpus, signer: Signer) -> None:
    """A key of one's own among the keys, signed for by itself."""
    now = timezone.now()
    key = SealKey(
        generation=9,
        public_key=signer.public_key,
        introduced_at=now,
        endorsed_by=signer.key_id,
    )
    corpus.sealed.tamper(
        "INSERT INTO seal_keys (generation, key_id, public_key, introduced_at, endorsed_by,"
        " endorsement) VALUES (9, %s, %s, %s, %s, %s)",
        params=[
            signer.key_id,
            signer.public_key,
            now,
            signer.key_id,
            signer.sign(key.statement().text()),
        ],
    )
