"""Many asks in one call (`sql/batch.sql`): how they are sent, and what comes back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec

from budgets.admission import Decision, Fields

MOST = 32  # asks of one call
Operation = Literal["start", "finish", "spend", "extend"]  # never extend in a batch


@dataclass(frozen=True, slots=True)
class Ask:
    """One ask: the routine that decides it alone, and that routine's parameters."""

    operation: Operation
    fields: Fields


class Answer(msgspec.Struct, rename="camel"):
    """What was decided of ask `n`. Status 0 means that nothing was: `denial` is `alone` where the
    ask has to be sent by itself, and `stale_prices` where `error` is the price book's version."""

    n: int
    status: int
    denial: str
    error: str
    retry_after: int | None
    reset_at: datetime | None
    replayed: bool
    body: msgspec.Raw
    reserved_usd: Decimal | None
    settled_usd: Decimal | None
    alerted: bool

    def decision(self) -> Decision:
        """The same, as the call of a single routine gives it."""
        body = bytes(self.body).decode()
        return Decision(
            status=self.status,
            denial=self.denial,
            error=self.error,
            retry_after=self.retry_after,
            reset_at=self.reset_at,
            replayed=self.replayed,
            body="" if body == "null" else body,
            reserved_usd=self.reserved_usd or Decimal(0),
            settled_usd=self.settled_usd or Decimal(0),
        )


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(list[Answer], float_hook=Decimal)


def encode(asks: Sequence[Ask]) -> bytes:
    """The JSON that `tollgate.decide_v1` takes."""
    return _ENCODER.encode([_element(n, ask) for n, ask in enumerate(asks)])


def _element(n: int, ask: Ask) -> dict[str, Any]:
    element = {"n": n, "op": ask.operation, **ask.fields}
    for name in ("digest", "fingerprint"):
        element[name] = "\\x" + element[name].hex()
    return element


def decode(answers: str | bytes) -> list[Answer]:
    """In no order: each names its place."""
    return _DECODER.decode(answers)
