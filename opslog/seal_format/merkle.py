"""Merkle trees as in RFC 6962 (2.1): leaves and nodes are hashed apart, odd ones are carried up."""

import hashlib
from collections.abc import Sequence

HASH_LENGTH = 32
NODE = b"\x01"
EMPTY = hashlib.sha256(b"").digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes; of none, the hash of nothing."""
    if not leaves:
        return EMPTY
    level = list(leaves)
    while len(level) > 1:
        level = _above(level)
    return level[0]


def path(leaves: Sequence[bytes], position: int) -> list[bytes]:
    """The neighbours of a leaf on its way to the root, lowest first."""
    if not 0 <= position < len(leaves):
        raise IndexError(position)
    found = []
    level = list(leaves)
    while len(level) > 1:
        neighbour = position ^ 1
        if neighbour < len(level):
            found.append(level[neighbour])
        level = _above(level)
        position //= 2
    return found


def root_from_path(leaf: bytes, position: int, count: int, path: Sequence[bytes]) -> bytes:
    """The root that this path leads to. Raises ValueError if it does not fit position and count."""
    if not 0 <= position < count:
        raise ValueError("the position is outside of the tree")
    found, rest = leaf, list(path)
    while count > 1:
        if position ^ 1 < count:
            if not rest:
                raise ValueError("the path is too short")
            neighbour = rest.pop(0)
            pair = neighbour + found if position & 1 else found + neighbour
            found = hashlib.sha256(NODE + pair).digest()
        position //= 2
        count = (count + 1) // 2
    if rest:
        raise ValueError("the path is too long")
    return found


def split(hashes: bytes) -> list[bytes]:
    """Hashes that are stored one after the other."""
    return [hashes[at : at + HASH_LENGTH] for at in range(0, len(hashes), HASH_LENGTH)]


def _above(level: list[bytes]) -> list[bytes]:
    sha256 = hashlib.sha256
    above = [
        sha256(NODE + level[at] + level[at + 1]).digest() for at in range(0, len(level) - 1, 2)
    ]
    if len(level) % 2:
        above.append(level[-1])
    return above
