"""What is signed: seals, introductions of keys, tombstones; and the signatures (Ed25519).

A statement is lines of text: what it is, then `name=value` in a fixed order with the value in JSON.
JSON has no line breaks, so no value can pretend to be another line.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

NO_SEAL = bytes(32)


def statement(what: str, values: Mapping[str, Any]) -> bytes:
    lines = [f"tollgate.{what}.v1"]
    lines += [f"{name}={json.dumps(value)}" for name, value in values.items()]
    return "\n".join(lines).encode("ascii")


def moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def key_id(public_key: bytes) -> str:
    return hashlib.sha256(public_key).hexdigest()[:16]


def is_signed(told: bytes, signature: bytes, public_key: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, told)
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True)
class Signer:
    """A private key. Its text is never shown: not by repr, in no log line."""

    private: Ed25519PrivateKey

    @classmethod
    def new(cls) -> "Signer":
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_text(cls, text: str) -> "Signer":
        return cls(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text.strip())))

    def text(self) -> str:
        return self.private.private_bytes_raw().hex()

    def __repr__(self) -> str:
        return f"Signer({self.key_id})"

    @property
    def public_key(self) -> bytes:
        return self.private.public_key().public_bytes_raw()

    @property
    def key_id(self) -> str:
        return key_id(self.public_key)

    def sign(self, told: bytes) -> bytes:
        return self.private.sign(told)


@dataclass(frozen=True, slots=True)
class SealStatement:
    """What the signature of a seal covers. The ids of its events are in the leaves of the tree."""

    number: int
    previous: bytes
    root: bytes
    count: int
    first_id: int | None
    last_id: int | None
    events_from: datetime | None
    events_to: datetime | None
    sealed_at: datetime
    snapshot: str
    after_id: int
    encoding: int
    key_id: str

    def values(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "previous": self.previous.hex(),
            "root": self.root.hex(),
            "count": self.count,
            "firstId": self.first_id,
            "lastId": self.last_id,
            "eventsFrom": moment(self.events_from) if self.events_from else None,
            "eventsTo": moment(self.events_to) if self.events_to else None,
            "sealedAt": moment(self.sealed_at),
            "snapshot": self.snapshot,
            "afterId": self.after_id,
            "encoding": self.encoding,
            "keyId": self.key_id,
        }

    def text(self) -> bytes:
        return statement("seal", self.values())

    def hash(self) -> bytes:
        return hashlib.sha256(self.text()).digest()


def key_statement(*, generation: int, public_key: bytes, at: datetime, endorsed_by: str) -> bytes:
    """Signed by the key before (`endorsed_by`), or by itself where there is none."""
    return statement(
        "key",
        {
            "generation": generation,
            "publicKey": public_key.hex(),
            "at": moment(at),
            "endorsedBy": endorsed_by,
        },
    )


def tombstone_statement(
    *,
    month: str,
    partition: str,
    events: int,
    seals: int,
    seals_digest: bytes,
    reason: str,
    by: str,
    at: datetime,
    key_id: str,
) -> bytes:
    return statement(
        "tombstone",
        {
            "month": month,
            "partition": partition,
            "events": events,
            "seals": seals,
            "sealsDigest": seals_digest.hex(),
            "reason": reason,
            "by": by,
            "at": moment(at),
            "keyId": key_id,
        },
    )
