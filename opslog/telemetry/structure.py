"""Which spans of a trace are calls of models, by how they are nested. Pure.

Frameworks report usage more than once: a span around the call has it again, a span of the agent
the sum of its calls. So a call is the innermost span with usage. A span around it with usage is a
sum, and counts only where nothing within it has any. A span that says that it is a call and has no
usage is one (of unknown cost) where no other call is within it, and no sum that counts is around
it.

What a call's own tool does is not within the call: an agent behind a tool asks models of its own.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

HIGHEST: Final = 100  # spans around a call that are looked at
RECORD: Final = struct.Struct("<8s8sB")
MOST: Final = 5000  # spans of a trace that are remembered
TOOL, CALL, USED, SAYS_CALL = 1, 2, 4, 8


@dataclass(frozen=True, slots=True)
class Node:
    """A span: the one around it (empty bytes or zeros: none) and what it is.

    `call`: it may be a call. `used`: it has usage. `says_call`: it says that it is one call, and
    not the sum of many.
    """

    parent: bytes
    tool: bool = False
    call: bool = False
    used: bool = False
    says_call: bool = False


Nodes = Mapping[bytes, Node]


def calls(nodes: Nodes) -> set[bytes]:
    """The spans that count as calls."""
    within: dict[bytes, bool] = {}  # span with another within → whether one of them has usage
    around: dict[bytes, list[bytes]] = {}
    for span, node in nodes.items():
        if node.call:
            around[span] = list(_around(span, nodes))
            for outer in around[span]:
                within[outer] = within.get(outer, False) or node.used
    sums = {span for span in around if nodes[span].used and not within.get(span)}
    return sums | {
        span
        for span, outer in around.items()
        if not nodes[span].used and span not in within and sums.isdisjoint(outer)
    }


def _around(span: bytes, nodes: Nodes) -> Iterator[bytes]:
    """The spans that a span may be counted in."""
    seen, through_tool = {span}, False
    node = nodes[span]
    for _ in range(HIGHEST):
        outer = node.parent
        if outer in seen or outer not in nodes:
            return
        seen.add(outer)
        node = nodes[outer]
        through_tool = through_tool or node.tool
        if node.call and not (through_tool and node.says_call):
            yield outer


def unsettled(nodes: Nodes) -> dict[bytes, Node]:
    """The spans that matter for what a later export may show: calls, and spans around which there
    is a call, or a span that was not sent yet."""
    matters: dict[bytes, bool] = {b"": False, bytes(8): False}
    for start in nodes:
        path: list[bytes] = []
        span = start
        while span not in matters:
            node = nodes.get(span)
            if node is None or node.call:
                matters[span] = True
            elif span in path:
                matters[span] = False  # around itself
            else:
                path.append(span)
                span = node.parent
        matters.update(dict.fromkeys(path, matters[span]))
    return {span: node for span, node in nodes.items() if matters[span]}


def pack(nodes: Nodes) -> bytes:
    """At most `MOST` of them, the first ones."""
    return b"".join(
        RECORD.pack(
            span,
            node.parent or bytes(8),
            node.tool * TOOL + node.call * CALL + node.used * USED + node.says_call * SAYS_CALL,
        )
        for span, node in list(nodes.items())[:MOST]
    )


def unpack(packed: bytes) -> dict[bytes, Node]:
    return {
        span: Node(parent, *(bool(flags & bit) for bit in (TOOL, CALL, USED, SAYS_CALL)))
        for span, parent, flags in RECORD.iter_unpack(packed)
    }
