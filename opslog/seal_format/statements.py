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


@dataclass(frozen=True, slots=True)
class Statement:
    """What a signature covers: `what` names its kind."""

    what: str
    values: Mapping[str, Any]

    def text(self) -> bytes:
        lines = [f"tollgate.{self.what}.v1"]
        lines += [f"{name}={json.dumps(value)}" for name, value in self.values.items()]
        return "\n".join(lines).encode("ascii")

    def hash(self) -> bytes:
        return hashlib.sha256(self.text()).digest()


def moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def key_id(public_key: bytes) -> str:
    return hashlib.sha256(public_key).hexdigest()[:16]


def is_signed(statement: bytes, signature: bytes, public_key: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, statement)
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

    def sign(self, statement: bytes) -> bytes:
        return self.private.sign(statement)
