"""A request that is sent again after an upgrade is still the same request."""

from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest

from budgets.admission import FinishTold, StartAsk, fingerprint
from budgets.admission.direct_spend import Attribution
from opslog.pricing import Usage


@dataclass(frozen=True, slots=True)
class LaterUsage(Usage):
    video_input_tokens: int = 0


@dataclass(frozen=True, slots=True)
class LaterFinish(FinishTold):
    note: str = ""
    retries: int | None = None


USAGE = Usage(10, 20, cached_input_tokens=5, tool_calls={"web_search": 2})


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (FinishTold("success", Decimal("0.10")), '{"cost_usd": "0.1", "status": "success"}'),
        (FinishTold("error", Decimal(0)), '{"cost_usd": "0", "status": "error"}'),
        (
            FinishTold("success", model="m", usage=USAGE),
            (
                '{"model": "m", "status": "success", "usage": {"cached_input_tokens": 5, '
                '"input_tokens": 10, "output_tokens": 20, "tool_calls": {"web_search": 2}}}'
            ),
        ),
        (
            {
                "who": Attribution(user_id="é"),
                "cost_usd": Decimal("2E+1"),
                "model": "",
                "usage": None,
            },
            '{"cost_usd": "20", "who": {"user_id": "\\u00e9"}}',
        ),
        (
            StartAsk("w", "a", confirm=True),
            '{"agent_name": "a", "confirm": true, "work_order_id": "w"}',
        ),
    ],
)
def test_it_covers_what_is_stated(asked: Any, text: str) -> None:
    assert fingerprint(asked) == sha256(text.encode()).digest()


def test_a_new_field_does_not_change_it() -> None:
    later = LaterFinish("success", model="m", usage=LaterUsage(10, 20))
    assert fingerprint(later) == fingerprint(FinishTold("success", model="m", usage=Usage(10, 20)))
    noted = LaterFinish("success", model="m", usage=LaterUsage(10, 20), note="n")
    assert fingerprint(noted) != fingerprint(later)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (FinishTold("success", Decimal(0)), FinishTold("success")),
        (FinishTold("success", Decimal("0.1")), FinishTold("success", Decimal("0.01"))),
        (FinishTold("success"), FinishTold("error")),
        (
            FinishTold("success", usage=Usage(0, 0)),
            FinishTold("success", usage=Usage(0, 0, service_tier="batch")),
        ),
        (Attribution(user_id="a"), Attribution(feature="a")),
    ],
)
def test_another_request_has_another(one: Any, other: Any) -> None:
    assert fingerprint(one) != fingerprint(other)
