"""The parts without a database: encoding, tree, snapshots, statements."""

import hashlib
import runpy
import struct
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opslog.seal_format import encoding, merkle
from opslog.seal_format.snapshots import Snapshot
from opslog.seal_format.statements import Signer, Statement, is_signed, moment
from tests.sealing.scene import CHECKER

# What leaves the house is checked by this program, which shares no code with Tollgate.
checker = runpy.run_path(str(CHECKER))
climb, Refused = checker["climb"], checker["Refused"]
WHOLE = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
TIME = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
EVENTS = st.fixed_dictionaries(
    {
        name: WHOLE if name in encoding.NUMBERS else TIME if name == "created_at" else TEXT
        for name in encoding.COLUMNS
    }
)


def written(event: dict[str, Any]) -> bytes:
    """As PostgreSQL sends a row in binary."""
    row = struct.pack(">i", len(encoding.COLUMNS))
    for name, number in zip(encoding.COLUMNS, encoding.TYPES, strict=True):
        result = event[name]
        if name == "created_at":
            result = (result - encoding.EPOCH) // encoding.MICROSECOND
        value = result.encode() if isinstance(result, str) else struct.pack(">q", result)
        row += struct.pack(">Ii", number, len(value)) + value
    return row


@given(EVENTS, EVENTS)
def test_two_events_never_share_an_encoding(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (written(one) == written(other)) == (one == other)


@given(EVENTS, TEXT.filter(bool))
def test_text_cannot_move_to_the_column_beside_it(event: dict[str, Any], text: str) -> None:
    for left, right in zip(encoding.COLUMNS[2:10], encoding.COLUMNS[3:11], strict=True):
        one = {**event, left: event[left] + text}
        other = {**event, right: text + event[right]}
        images = [written(each) for each in (event, one, other)]
        assert len(set(images)) == 3


@given(EVENTS)
def test_an_encoding_can_be_read_back(event: dict[str, Any]) -> None:
    row = written(event)
    assert encoding.event_of(encoding.values_in(row)) == event
    assert encoding.number_of(row[encoding.ID]) == event["id"]
    assert encoding.number_of(row[encoding.XACT]) == event["xact"]
    assert encoding.time_of(row[encoding.CREATED_AT]) == event["created_at"]
    for wrong in (row[:-1], row + b"x", row[:4] + b"\x01" + row[5:]):
        with pytest.raises(ValueError, match="the log"):
            encoding.values_in(wrong)


def slow_root(leaves: list[bytes]) -> bytes:
    """As RFC 6962 has it, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    pair = slow_root(leaves[:split]) + slow_root(leaves[split:])
    return hashlib.sha256(b"\x01" + pair).digest()


def leaves(many: int) -> list[bytes]:
    return [hashlib.sha256(b"\x00" + bytes([number])).digest() for number in range(many)]


@pytest.mark.parametrize("many", range(34))
def test_the_tree_is_that_of_the_rfc(many: int) -> None:
    assert merkle.root(leaves(many)) == slow_root(leaves(many))


def test_a_published_root() -> None:
    """The test vectors that came with the RFC's first implementation."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"]
    inputs.append("606162636465666768696a6b6c6d6e6f")
    hashed = [hashlib.sha256(b"\x00" + bytes.fromhex(each)).digest() for each in inputs]
    found = merkle.root(hashed).hex()
    assert found == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@pytest.mark.parametrize("many", [1, 2, 3, 5, 8, 13, 33])
def test_every_leaf_has_a_path(many: int) -> None:
    tree = leaves(many)
    for position, each in enumerate(tree):
        path = [node.hex() for node in merkle.path(tree, position)]
        assert climb(each, position, many, path) == merkle.root(tree)
        other = hashlib.sha256(b"other").digest()
        assert climb(other, position, many, path) != merkle.root(tree)
        for wrong in [[*path, other.hex()], *([path[:-1]] if path else [])]:
            with pytest.raises(Refused, match="path"):
                climb(each, position, many, wrong)


@pytest.mark.parametrize("position", [-1, 3])
def test_a_leaf_outside_of_the_tree(position: int) -> None:
    with pytest.raises(IndexError):
        merkle.path(leaves(3), position)
    with pytest.raises(Refused, match="outside"):
        climb(leaves(3)[0], position, 3, [])


@pytest.mark.parametrize(
    ("text", "seen", "unseen"),
    [
        ("10:10:", (1, 9), (10, 11)),
        ("5:10:5,7", (4, 6, 8, 9), (5, 7, 10)),
        ("5:10:7,5", (4, 6, 8, 9), (5, 7, 10)),
    ],
)
def test_what_a_snapshot_sees(text: str, seen: tuple[int, ...], unseen: tuple[int, ...]) -> None:
    snapshot = Snapshot.parse(text)
    assert all(snapshot.sees(each) for each in seen)
    assert not any(snapshot.sees(each) for each in unseen)
    assert Snapshot.parse(str(snapshot)) == snapshot


@given(st.sets(st.integers(1, 40)), st.integers(1, 60), st.integers(1, 60))
def test_windows_lose_nothing_and_count_nothing_twice(
    running: set[int], ceiling: int, step: int
) -> None:
    """Cut into windows, each transaction that is over falls into one of them."""
    whole = Snapshot(ceiling, frozenset(each for each in running if each < ceiling))
    seen: list[int] = []
    before = Snapshot(1)
    while before.ceiling < ceiling:
        part = whole.up_to(before.ceiling + step)
        seen += [each for each in range(70) if part.sees(each) and not before.sees(each)]
        before = part
    assert seen == sorted(set(seen))
    assert set(seen) == {each for each in range(1, 70) if whole.sees(each)}


@given(TEXT, TEXT, TEXT, TEXT)
def test_statements_are_unambiguous(a: str, b: str, c: str, d: str) -> None:
    one, other = {"reason": a, "by": b}, {"reason": c, "by": d}
    statement = [Statement("tombstone", each).text() for each in (one, other)]
    assert (statement[0] == statement[1]) == (one == other)


def test_a_value_is_no_line_of_its_own() -> None:
    forged = Statement("tombstone", {"reason": 'x"\nby="boss', "by": "me"}).text()
    assert forged.count(b"\n") == 2


def test_signatures() -> None:
    signer, other = Signer.new(), Signer.new()
    statement = Statement("seal", {"number": 1}).text()
    assert is_signed(statement, signer.sign(statement), signer.public_key)
    assert not is_signed(statement, signer.sign(statement), other.public_key)
    assert not is_signed(statement + b" ", signer.sign(statement), signer.public_key)
    assert not is_signed(statement, b"short", signer.public_key)
    assert Signer.from_text(signer.text()).public_key == signer.public_key


def test_a_private_key_is_not_shown() -> None:
    signer = Signer.new()
    assert signer.text() not in f"{signer!r} {signer}"


def test_times_are_told_to_the_microsecond() -> None:
    assert moment(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00.000000Z"
