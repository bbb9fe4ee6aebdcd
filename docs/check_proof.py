"""Checks that an event was in a signed seal. Needs Python 3.11 and the package `cryptography`.

    python check_proof.py proof.json --key 64_HEX_DIGITS
    python check_proof.py proof.json --heads seal_heads.jsonl

The proof comes from `manage.py export_proof`. The key, or your copy of the head file, must not come
from the same hands: who made up a proof can make up a key. Exit code 0: the event was sealed as it
stands in the proof; 1: it was not, or nobody you trust says so.

This program shares no code with Tollgate. It can be copied anywhere.
"""

import argparse
import hashlib
import json
import struct
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

COLUMNS = (
    *("id", "created_at", "kind", "message", "owner_type", "owner_id", "owner_label"),
    *("actor", "meta", "request_id", "db_user", "xact"),
)
SEAL = (
    *("number", "previous", "root", "count", "firstId", "lastId", "eventsFrom", "eventsTo"),
    *("sealedAt", "snapshot", "afterId", "encoding", "keyId"),
)
EPOCH = datetime(2000, 1, 1, tzinfo=timezone.utc)  # noqa: UP017


class Refused(Exception):
    """Why the proof proves nothing."""


def leaf(event: dict) -> bytes:
    """Each column with its type and length before it, as PostgreSQL sends a row."""
    encoded = struct.pack(">i", len(COLUMNS))
    for name in COLUMNS:
        value = event[name]
        if name in ("id", "xact"):
            kind, data = 20, struct.pack(">q", value)
        elif name == "created_at":
            since = datetime.fromisoformat(value.replace("Z", "+00:00")) - EPOCH
            kind, data = 1184, struct.pack(">q", since // timedelta(microseconds=1))
        else:
            kind, data = 25, value.encode()
        encoded += struct.pack(">Ii", kind, len(data)) + data
    return hashlib.sha256(b"\x00tollgate.event.v1\x00" + encoded).digest()


def climb(node: bytes, position: int, count: int, path: list) -> bytes:
    """From the leaf to the root, as in RFC 6962."""
    if not 0 <= position < count:
        raise Refused("the position is outside of the seal")
    rest = [bytes.fromhex(each) for each in path]
    while count > 1:
        if position ^ 1 < count:
            if not rest:
                raise Refused("the path is too short")
            other = rest.pop(0)
            pair = other + node if position & 1 else node + other
            node = hashlib.sha256(b"\x01" + pair).digest()
        position, count = position // 2, (count + 1) // 2
    if rest:
        raise Refused("the path is too long")
    return node


def check(proof: dict, trusted: set, heads: dict) -> str:
    if proof.get("format") != "tollgate.proof.v1" or proof["seal"].get("encoding") != 1:
        raise Refused("this is no proof of a form that is known here")
    seal, event = proof["seal"], proof["event"]
    root = climb(leaf(event), proof["position"], seal["count"], proof["path"])
    if root.hex() != seal["root"]:
        raise Refused("the event is not what was sealed")
    lines = ["tollgate.seal.v1", *(f"{name}={json.dumps(seal[name])}" for name in SEAL)]
    statement = "\n".join(lines).encode()
    public_key = proof["publicKey"].lower()
    if public_key not in trusted:
        raise Refused(f"the key {public_key} is not one that you trust")
    try:
        signed = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        signed.verify(bytes.fromhex(proof["signature"]), statement)
    except (InvalidSignature, ValueError):
        raise Refused("the signature of the seal does not fit") from None
    outside = heads.get(seal["number"])
    if outside is not None and outside != hashlib.sha256(statement).hexdigest():
        raise Refused("the head file knows another seal of this number")
    return (
        f"Event {event['id']} ({event['kind']}, {event['created_at']}) was sealed in no. "
        f"{seal['number']} at {seal['sealedAt']}, as it stands in the proof."
    )


def read_heads(file: Path) -> tuple:
    trusted, heads = set(), {}
    for line in file.read_text().splitlines():
        try:
            head = json.loads(line)
            heads[head["number"]] = head["hash"]
            trusted.add(head["publicKey"].lower())
        except (ValueError, KeyError, TypeError):
            continue  # a torn line
    return trusted, heads


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("proof", type=Path)
    parser.add_argument("--key", action="append", default=[], help="a public key that you trust")
    parser.add_argument("--heads", type=Path, help="your copy of the head file")
    given = parser.parse_args()
    if not given.key and not given.heads:
        parser.error("say whom you trust: --key or --heads")
    try:
        trusted, heads = read_heads(given.heads) if given.heads else (set(), {})
        trusted |= {each.lower() for each in given.key}
        print(check(json.loads(given.proof.read_text()), trusted, heads))
    except Refused as reason:
        print(f"Not proven: {reason}.", file=sys.stderr)
        return 1
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        print(f"Not proven: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
