"""What is known of the seals outside of the database: a file that only grows, and a webhook.

Whoever rules the database can rewrite all of it, seals and public keys too. Against that stands
what he cannot reach: a line a seal, with its number, its hash and the key it was signed with.
Only seals signed with the key that is here are written; a foreign one in the table is not.
"""

import fcntl
import json
import logging
import os
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import httpx2
from django.conf import settings
from django.db import connection
from django.db.transaction import TransactionManagementError

from opslog.models import Seal, SealKey
from opslog.outbox.private_networks import PrivateTarget, public_only
from opslog.seal_format.statements import is_signed, moment
from opslog.sealing import keys, private_files

AT_ONCE = 2000
TAIL = 65_536  # bytes; a line is under 400
SECONDS = 10

log = logging.getLogger("tollgate.seals")


@dataclass(frozen=True, slots=True)
class Head:
    number: int
    hash: bytes
    public_key: bytes

    @classmethod
    def parse(cls, line: bytes) -> "Head | None":
        """None for what is no whole line: a machine may stop while it writes one."""
        try:
            data = json.loads(line)
            head = cls(
                int(data["number"]), bytes.fromhex(data["hash"]), bytes.fromhex(data["publicKey"])
            )
        except (ValueError, TypeError, KeyError):
            return None
        return head if len(head.hash) == len(head.public_key) == 32 else None


@dataclass
class KnownHeads:
    """A head file in memory, 40 bytes a line."""

    numbers: "array[int]" = field(default_factory=lambda: array("q"))
    hashes: bytearray = field(default_factory=bytearray)
    keys: dict[bytes, int] = field(default_factory=dict)  # public key → first seal it is named for
    unreadable: int = 0

    def add(self, head: Head) -> None:
        self.numbers.append(head.number)
        self.hashes += head.hash
        self.keys.setdefault(head.public_key, head.number)

    def in_order(self) -> Iterator[tuple[int, bytes]]:
        """(number, hash), by number; a file that was put together by hand may have any order."""
        numbers = self.numbers
        places: Any = range(len(numbers))
        if any(numbers[at] > numbers[at + 1] for at in range(len(numbers) - 1)):
            places = sorted(places, key=numbers.__getitem__)
        for at in places:
            yield numbers[at], bytes(self.hashes[32 * at : 32 * at + 32])


def read(file: Path) -> KnownHeads:
    """All lines of a head file. Raises OSError."""
    known = KnownHeads()
    with file.open("rb") as stream:
        for line in stream:
            if head := Head.parse(line):
                known.add(head)
            elif line.strip():
                known.unreadable += 1
    return known


def bring_up_to_date() -> int:
    """Append the seals that the file does not have yet; returns how many.

    Called after the seals are committed, and again by the next turn: so a process that ends in
    between loses no line. What is wrong is logged, never repaired: the file is evidence.
    """
    if connection.in_atomic_block:
        raise TransactionManagementError("Only what is committed goes outside.")
    own = keys.local_public_key()
    file = Path(settings.TOLLGATE_SEAL_HEADS_FILE)
    if own is None:
        return 0
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(file) as stream:
        last = _last(stream)
        pinned = {own, last.public_key} if last else {own}
        trusted = keys.with_endorsed(pinned, SealKey.objects.all())
        number = last.number if last else _before_the_first_of(own)
        if last and not _agrees(last):
            log.error(
                "the seals in the database are not those of the head file",
                extra={"number": last.number},
            )
        written = 0
        while lines := list(_lines(number, trusted)):
            stream.write(b"".join(line for _, line in lines))
            stream.flush()
            os.fsync(stream.fileno())
            number, written = lines[-1][0], written + len(lines)
        return written


def post_newest() -> bool:
    """Send the newest head to the webhook; returns whether it was taken. No retries: the next one,
    an hour later at most, stands for all before it."""
    url = settings.TOLLGATE_SEAL_WEBHOOK_SECRET_URL
    if not url:
        return False
    if connection.in_atomic_block:
        raise TransactionManagementError("Nothing is sent inside a transaction.")
    seal = Seal.objects.select_related("key").first()
    if seal is None:
        return False
    guard = nullcontext() if settings.TOLLGATE_NOTIFY_PRIVATE_NETWORKS else public_only()
    try:
        with guard:
            answer = httpx2.post(url, json=as_json(seal), timeout=SECONDS, follow_redirects=False)
        answer.raise_for_status()
    except (httpx2.HTTPError, PrivateTarget, OSError) as error:
        log.warning("the webhook did not take a head", extra={"reason": type(error).__name__})
        return False
    return True


def as_json(seal: Seal) -> dict[str, Any]:
    return {
        "number": seal.number,
        "hash": bytes(seal.hash).hex(),
        "count": seal.event_count,
        "sealedAt": moment(seal.sealed_at),
        "publicKey": bytes(seal.key.public_key).hex(),
        "signature": bytes(seal.signature).hex(),
    }


def _lines(after: int, trusted: set[bytes]) -> Iterator[tuple[int, bytes]]:
    """The next seals as lines of the file; it ends before one that nobody here signed."""
    found = Seal.objects.select_related("key").filter(number__gt=after).order_by("number")
    for seal in found[:AT_ONCE]:
        public_key = bytes(seal.key.public_key)
        genuine = is_signed(seal.statement().text(), bytes(seal.signature), public_key)
        if public_key not in trusted or not genuine:
            log.error("a seal is not signed with the key here", extra={"number": seal.number})
            return
        yield seal.number, json.dumps(as_json(seal)).encode() + b"\n"


def _before_the_first_of(public_key: bytes) -> int:
    """Where a new file begins: what keys before signed, this one cannot vouch for."""
    first = Seal.objects.filter(key__public_key=public_key).order_by("number").first()
    return first.number - 1 if first else 0


def _agrees(last: Head) -> bool:
    return Seal.objects.filter(number=last.number, hash=last.hash).exists()


@contextmanager
def _locked(file: Path) -> Iterator[BinaryIO]:
    """The file, for this process alone among those of the machine. A torn line is ended first."""
    new = not file.exists()
    descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    with os.fdopen(descriptor, "a+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        if new:
            private_files.give_to_owner_of_folder(file)
            private_files.sync_folder(file.parent)
        size = stream.seek(0, os.SEEK_END)
        if size:
            stream.seek(size - 1)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        yield stream


def _last(stream: BinaryIO) -> Head | None:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - TAIL))
    heads = filter(None, map(Head.parse, reversed(stream.read().splitlines())))
    return next(heads, None)
