"""The keys that sign. Private parts are in a file or in the environment, never in the database."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, transaction
from django.db.transaction import TransactionManagementError

from opslog import events
from opslog.database.query import run, value
from opslog.models import SealKey
from opslog.seal_format.statements import Signer, is_signed, key_id
from opslog.sealing import private_files

LOCK = 0x7365616C  # "seal": one at a time signs, rotates or expires, however many workers there are


class NoKey(Exception):
    """No private key is here, or not the one in use: nothing can be signed."""


def hold_lock(using: str = DEFAULT_DB_ALIAS) -> None:
    """Wait for whoever signs, rotates or expires, and hold it until the end of the transaction."""
    run("SELECT pg_advisory_xact_lock(%s)", [LOCK], using=using)


def try_lock() -> bool:
    """The same without waiting; returns whether it is held."""
    return bool(value("SELECT pg_try_advisory_xact_lock(%s)", [LOCK]))


def signer(*, now: datetime) -> Signer:
    """The key in use; the first one is made, and introduced, where there is none yet.

    Requires the lock. Raises NoKey.
    """
    if not connection.in_atomic_block:
        raise TransactionManagementError("A key is introduced by the transaction that uses it.")
    newest = SealKey.objects.first()
    local = _local()
    if local is None:
        if newest is not None or not settings.TOLLGATE_SEAL_KEY_FILE:
            raise NoKey("There is no private key for seals here (SEAL_KEY, SEAL_KEY_FILE).")
        private_files.write(_file(), Signer.new().text(), replace=False)
        local = _read(_file())  # the file's, if another process was faster
    if newest is None:
        _introduce(local, generation=1, at=now, by=local)
        return local
    return _fitting(local, newest)


def in_use() -> Signer:
    """The key in use, where there is one already. Raises NoKey."""
    newest, local = SealKey.objects.first(), _local()
    if newest is None or local is None:
        raise NoKey("There is no key for seals here yet, or its private part is elsewhere.")
    return _fitting(local, newest)


def rotate(
    *, by: str, reason: str, now: datetime, write_to: Path | None = None, lost: bool = False
) -> SealKey:
    """Introduce a new key, signed for by the one in use, and put its private part into the file.

    `write_to` is the file where the key in use comes from the environment: whoever runs Tollgate
    then sets SEAL_KEY to what is in it. `lost`: there is no key in use to sign for the new one, so
    only what is pinned outside of the database can vouch for it. Raises NoKey.
    """
    target = write_to or (Path(settings.TOLLGATE_SEAL_KEY_FILE or "") if _has_file() else None)
    if target is None:
        raise NoKey("The key comes from SEAL_KEY: say where the new one is to be written.")
    if write_to is not None and write_to.exists():
        raise NoKey(f"{write_to} exists already.")
    new = Signer.new()
    waiting = write_to or _next(target)
    with transaction.atomic():
        hold_lock()
        newest = SealKey.objects.first()
        endorsing = new if lost or newest is None else signer(now=now)
        private_files.write(waiting, new.text(), replace=write_to is None)
        introduced = _introduce(
            new, generation=(newest.generation if newest else 0) + 1, at=now, by=endorsing
        )
        events.record(
            "SEAL_KEY_ROTATED",
            message=f"Seals are signed with the key {new.key_id} from now on",
            actor=by,
            owner=("seal_key", new.key_id),
            label=new.key_id,
            meta={
                "generation": introduced.generation,
                "previousKey": newest.key_id if newest else "",
                "endorsedBy": introduced.endorsed_by,
                "reason": reason,
            },
        )
    if write_to is None:
        waiting.replace(target)
        private_files.sync_folder(target.parent)
    return introduced


def is_endorsed(key: SealKey, by: bytes) -> bool:
    """Whether the owner of that public key signed for this one."""
    return is_signed(key.statement().text(), bytes(key.endorsement), by)


def with_endorsed(pinned: Iterable[bytes], introduced: Iterable[SealKey]) -> set[bytes]:
    """The public keys that can be trusted if these can: those that they signed for, and so on."""
    trusted = {key_id(public_key): public_key for public_key in pinned}
    for key in sorted(introduced, key=lambda each: each.generation):
        endorsing = trusted.get(key.endorsed_by)
        if endorsing is not None and is_endorsed(key, endorsing):
            trusted[key.key_id] = bytes(key.public_key)
    return set(trusted.values())


def _introduce(new: Signer, *, generation: int, at: datetime, by: Signer) -> SealKey:
    key = SealKey(
        generation=generation,
        key_id=new.key_id,
        public_key=new.public_key,
        introduced_at=at,
        endorsed_by=by.key_id,
    )
    key.endorsement = by.sign(key.statement().text())
    key.save(force_insert=True)
    return key


def _fitting(local: Signer, newest: SealKey) -> Signer:
    """The private part of the newest key. It may still wait beside the old one's file: a rotation
    whose process ended before it could take that place."""
    if local.public_key == bytes(newest.public_key):
        return local
    waiting = _next(_file()) if _has_file() else None
    if waiting is not None and waiting.exists():
        signer = _read(waiting)
        if signer.public_key == bytes(newest.public_key):
            waiting.replace(_file())
            return signer
    raise NoKey(f"The private key here is not the one in use ({newest.key_id}).")


def local_public_key() -> bytes | None:
    """The public part of the private key here. Raises NoKey if the file is no key."""
    local = _local()
    return local.public_key if local else None


def _local() -> Signer | None:
    if settings.TOLLGATE_SEAL_SECRET_KEY:
        return Signer.from_text(settings.TOLLGATE_SEAL_SECRET_KEY)
    return _read(_file()) if _has_file() and _file().exists() else None


def _has_file() -> bool:
    return bool(settings.TOLLGATE_SEAL_KEY_FILE) and not settings.TOLLGATE_SEAL_SECRET_KEY


def _file() -> Path:
    return Path(settings.TOLLGATE_SEAL_KEY_FILE)


def _next(file: Path) -> Path:
    return file.with_name(f"{file.name}.next")


def _read(file: Path) -> Signer:
    try:
        return Signer.from_text(file.read_text())
    except OSError as error:
        raise NoKey(f"{file} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise NoKey(f"{file} is not 64 hexadecimal digits.") from None
