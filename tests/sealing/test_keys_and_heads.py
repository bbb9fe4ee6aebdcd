"""Keys: where they are, and how they change. Heads: what is sent outside of the database."""

import json
import logging
import stat
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from opslog.models import OperationsEvent, Seal, SealKey
from opslog.seal_format.statements import Signer
from opslog.sealing import heads, keys, sealer
from tests.outbox.sinks import HttpSink, served
from tests.sealing.scene import Sealed, kinds


def rotate(**how: Any) -> SealKey:
    return keys.rotate(by="somebody", reason="the year is over", now=timezone.now(), **how)


def test_the_first_seal_makes_the_key(sealed: Sealed) -> None:
    sealed.seal(1)
    assert stat.S_IMODE(sealed.key_file.stat().st_mode) == 0o600
    key = SealKey.objects.get()
    signer = Signer.from_text(sealed.key_file.read_text())
    assert (bytes(key.public_key), key.endorsed_by) == (signer.public_key, key.key_id)


def test_the_private_key_is_nowhere_else(sealed: Sealed, caplog: pytest.LogCaptureFixture) -> None:
    """Not in a table, not in the head file, not in the log."""
    caplog.set_level(logging.DEBUG)
    sealed.seal(1)
    before = sealed.key_file.read_text()
    rotate()
    sealed.seal(1)
    for secret in (before, sealed.key_file.read_text()):
        with connection.cursor() as cursor:
            for table in ("seals", "seal_keys", "seal_members", "operations_events"):
                cursor.execute(
                    f"SELECT count(*) FROM {table} t WHERE t::text LIKE %s", [f"%{secret}%"]
                )
                assert cursor.fetchone() == (0,)
        assert secret not in sealed.heads_file.read_text()
        assert secret not in caplog.text


def test_seals_after_a_rotation_have_the_new_key(sealed: Sealed) -> None:
    sealed.seal(1)
    new = rotate()
    sealed.seal(1)
    assert [seal.key_id for seal in Seal.objects.order_by("number")] == [
        new.endorsed_by,
        new.key_id,
    ]
    assert OperationsEvent.objects.filter(kind="SEAL_KEY_ROTATED", owner_id=new.key_id).exists()
    assert sealed.verify().findings == []


def test_an_endorsed_key_is_known_before_the_head_file_names_it(sealed: Sealed) -> None:
    sealed.seal(1)
    first = Signer.from_text(sealed.key_file.read_text()).public_key
    rotate()
    rotate()
    sealed.seal(1)
    assert sealed.verify(pinned={first}).findings == []
    stranger = Signer.new().public_key
    assert kinds(sealed.verify(pinned={stranger})) == {"unknown key"}


def test_a_key_that_follows_a_lost_one(sealed: Sealed) -> None:
    sealed.seal(1)
    first = Signer.from_text(sealed.key_file.read_text()).public_key
    sealed.key_file.unlink()
    with pytest.raises(keys.NoKey):
        sealer.seal()
    with pytest.raises(keys.NoKey):
        rotate()
    new = rotate(lost=True)
    sealed.seal(1)
    assert kinds(sealed.verify(pinned={first})) == {"unknown key"}
    assert sealed.verify(pinned={first, bytes(new.public_key)}).findings == []


def test_a_rotation_that_ended_before_the_file_was_moved(
    sealed: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed.seal(1)
    old = sealed.key_file.read_text()
    new = rotate()
    sealed.key_file.with_name("seal_key.next").write_text(sealed.key_file.read_text())
    sealed.key_file.write_text(old)
    sealed.seal(1)
    assert Seal.objects.latest("number").key_id == new.key_id
    assert Signer.from_text(sealed.key_file.read_text()).key_id == new.key_id


def test_a_key_from_the_environment(sealed: Sealed, settings: Settings) -> None:
    signer = Signer.new()
    settings.TOLLGATE_SEAL_SECRET_KEY = signer.text()
    sealed.seal(1)
    assert not sealed.key_file.exists()
    assert Seal.objects.get().key_id == signer.key_id
    with pytest.raises(keys.NoKey, match="SEAL_KEY"):
        rotate()
    target = sealed.folder / "new_key"
    new = rotate(write_to=target)
    sealed.write(1)
    with pytest.raises(keys.NoKey):  # the one in the environment is retired
        sealer.seal()
    settings.TOLLGATE_SEAL_SECRET_KEY = target.read_text()
    sealed.seal()
    assert Seal.objects.latest("number").key_id == new.key_id
    assert sealed.verify().findings == []


def test_a_file_that_is_no_key(sealed: Sealed) -> None:
    sealed.key_file.write_text("secret-but-wrong")
    with pytest.raises(keys.NoKey) as refused:
        sealed.seal(1)
    assert "secret-but-wrong" not in str(refused.value)


def test_the_head_file_only_grows(sealed: Sealed) -> None:
    before = b""
    for _ in range(3):
        sealed.seal(1)
        after = sealed.heads_file.read_bytes()
        assert after.startswith(before)
        assert after.count(b"\n") == before.count(b"\n") + 1
        before = after


def test_a_head_file_that_was_moved_away_begins_anew(sealed: Sealed) -> None:
    """With what the present key signed: what others signed it cannot vouch for."""
    sealed.seal(1, 1)
    rotate()
    sealed.seal(1)
    sealed.heads_file.unlink()
    sealed.seal(1)
    body = [json.loads(line)["number"] for line in sealed.heads_file.read_text().splitlines()]
    assert body == [3, 4]


def test_a_database_behind_its_head_is_logged(
    sealed: Sealed, caplog: pytest.LogCaptureFixture
) -> None:
    sealed.seal(1, 1)
    sealed.tamper("DELETE FROM seal_members WHERE seal = 2", "DELETE FROM seals WHERE number = 2")
    before = sealed.heads_file.read_bytes()
    assert heads.bring_up_to_date() == 0
    assert sealed.heads_file.read_bytes() == before
    assert "are not those of the head file" in caplog.text


def test_the_webhook_gets_the_newest_head(
    sealed: Sealed, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with served(HttpSink()) as sink:
        settings.TOLLGATE_SEAL_WEBHOOK_SECRET_URL = f"http://127.0.0.1:{sink.port}/secret-path"
        settings.TOLLGATE_NOTIFY_PRIVATE_NETWORKS = True
        sealed.write(1)
        call_command("seal_events")
    [(_, body)] = sink.posts
    assert json.loads(body) == json.loads(sealed.heads_file.read_text())
    assert "secret-path" not in caplog.text


def test_the_webhook_does_not_reach_neighbours(
    sealed: Sealed, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with served(HttpSink()) as sink:
        settings.TOLLGATE_SEAL_WEBHOOK_SECRET_URL = f"http://127.0.0.1:{sink.port}/secret-path"
        settings.TOLLGATE_NOTIFY_PRIVATE_NETWORKS = False
        sealed.seal(1)
        assert not heads.post_newest()
        assert sink.posts == []
    assert "secret-path" not in caplog.text


def test_without_a_webhook_nothing_is_sent(sealed: Sealed) -> None:
    sealed.seal(1)
    assert not heads.post_newest()
