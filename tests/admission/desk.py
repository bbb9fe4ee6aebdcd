"""A desk to ask at: the domain functions with a token at hand, and a clock that tests can set."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from django.db import connections

from budgets import admission
from budgets.admission import Caller, Decision, FinishTold, StartAsk
from opslog.models import OperationsEvent
from tests import factories
from workorders import tokens

# What the database of a test gets in place of the clock: settable, for tests of midnight.
SETTABLE_CLOCK = """
CREATE OR REPLACE FUNCTION tollgate.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(nullif(current_setting('test.now', true), '')::timestamptz, clock_timestamp())
$$
"""


def install_clock() -> None:
    with connections["owner"].cursor() as cursor:
        cursor.execute(SETTABLE_CLOCK)
    connections["owner"].close()


def set_clock(at: datetime | None) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT set_config('test.now', %s, false)", [at.isoformat() if at else ""])


@dataclass
class Desk:
    """Asks in the name of one token."""

    token: str = field(default_factory=lambda: factories.make_token()[1])
    address: str = "127.0.0.1"

    @property
    def caller(self) -> Caller:
        return Caller(tokens.digest(self.token), self.address)

    def start(self, wo: str = "w1", usd: Any = "0.10", key: str = "", **more: Any) -> Decision:
        ask = StartAsk(
            work_order_id=wo,
            agent_name=more.pop("agent", "agent-1"),
            estimated_cost_usd=None if usd is None else Decimal(str(usd)),
            **more,
        )
        return admission.start(ask, caller=self.caller, idempotency_key=key)

    def finish(self, run: UUID | str, usd: Any = "0.10", status: str = "success") -> Decision:
        report = FinishTold(status=status, cost_usd=Decimal(str(usd)))
        return admission.finish(UUID(str(run)), report, caller=self.caller)

    def extend(
        self, run: UUID | str, usd: Any = 0, lease: int | None = None, key: str = ""
    ) -> Decision:
        return admission.extend(
            UUID(str(run)),
            additional_usd=Decimal(str(usd)),
            lease_seconds=lease,
            caller=self.caller,
            idempotency_key=key,
        )


def body(decision: Decision) -> dict[str, Any]:
    assert decision.body, (decision.denial, decision.error)
    return msgspec.json.decode(decision.body, type=dict[str, Any])


def run_of(decision: Decision) -> str:
    return str(body(decision)["runId"])


def last_event() -> OperationsEvent:
    return OperationsEvent.objects.latest()
