"""What is sent to the database without HTTP: the floor, and the product's own calls.

The calls are made by the code that the gatherer uses, so they are what the product sends.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.adapt import Transformer

from bench.ground import TOKEN

if TYPE_CHECKING:
    from budgets.admission.batches import Ask

DIGEST = hashlib.sha256(TOKEN.encode()).digest()
# Everything that a limit can be held over.
NAMES = {
    "tokens": 100,
    "model": "bench-model",
    "tier": "middle",
    "user_id": "bench-user",
    "surface": "cli",
    "feature": "bench-feature",
}
# What must be written in any case: the same two rows, the same indexes, triggers and constraints,
# one synchronous commit; nothing is decided, and nothing is locked that others want.
FLOOR = """
WITH given AS (SELECT uuidv7() AS id, clock_timestamp() AS at), run AS (
    INSERT INTO work_order_runs (id, wo_id, agent_name, agent_known, status, reserved_usd, day,
        started_at, lease_expires_at, lease_seconds, model, user_id, surface, feature, source_ip,
        idempotency_key, token_id, charged_to)
    SELECT id, $3, $4, true, 'running', $5, at::date, at, at + interval '900 seconds', 900, '', '',
        '', '', $2, $6, 1, '{1,2,3,4,5}' FROM given)
INSERT INTO operations_events
    (kind, message, owner_type, owner_id, owner_label, actor, meta, request_id)
SELECT 'WORK_ORDER_START', $4::text || ' started', 'work_order', $3, $3, 'bench',
    jsonb_build_object('woId', $3::text, 'woTitle', $3::text, 'agentName', $4::text,
        'agentKnown', true, 'runId', id, 'sourceIp', host($2::inet),
        'estimatedUsd', $5::numeric::text, 'askKey', nullif($6::text, ''),
        'tokenName', encode($1::bytea, 'hex'), 'print', length($7::bytea)),
    'bench'
FROM given
"""


@dataclass(frozen=True)
class Statement:
    """`parameters` are used in turn. Each call holds `asks`, of which `granted` start a run."""

    sql: str
    parameters: Sequence[Sequence[bytes | None]]
    asks: int = 1
    granted: int = 0


def floor(orders: Sequence[str]) -> Statement:
    digest = f"\\x{DIGEST.hex()}".encode()
    return Statement(
        FLOOR,
        [
            [digest, b"127.0.0.1", order.encode(), b"bench", b"0.01", b"", digest]
            for order in orders
        ],
    )


def start(order: str, names: dict[str, Any] | None = None) -> "Ask":
    from decimal import Decimal

    from budgets.admission import Caller, StartAsk, start_fields
    from budgets.admission.batches import Ask

    asked = StartAsk(order, "bench", Decimal("0.01"))
    fields = start_fields(asked, caller=Caller(DIGEST, "127.0.0.1"))
    return Ask("start", fields | {"request_id": "bench"} | (names or {}))


def one_by_one(url: str, asks: "Sequence[Ask]", *, procedure: bool = True) -> Statement:
    """A call for each. The plain function keeps its locks until the flush is over."""
    from budgets.gathering import calls

    with psycopg.connect(url) as connection:
        dump = Transformer(connection)
        made = [calls.of_one(ask, dump).values for ask in asks]
    sql = calls.single(asks[0].operation, len(made[0]), procedure=procedure).sql.decode()
    return Statement(sql, list(map(as_bytes, made)), 1, int(asks[0].operation == "start"))


def in_batches(
    url: str,
    asks: "Sequence[Ask]",
    size: int,
    *,
    granted: int | None = None,
    procedure: bool = True,
) -> Statement:
    """A call for `size` of them at a time, in turn, until all have been in one."""
    from budgets.gathering import calls

    count = -(-max(len(asks), 8 * size) // size)
    with psycopg.connect(url) as connection:
        dump = Transformer(connection)
        made = [
            calls.of_batch([asks[(n * size + k) % len(asks)] for k in range(size)], dump).values
            for n in range(count)
        ]
    sql = calls.batch(len(made[0]), procedure=procedure).sql.decode()
    expected = size if granted is None else granted
    return Statement(sql, list(map(as_bytes, made)), size, expected)


def as_bytes(values: Sequence[Any]) -> list[bytes | None]:
    return [None if each is None else bytes(each) for each in values]
