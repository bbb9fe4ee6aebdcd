"""One ask for a run, and the memory of asks that were refused until a known time."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from .errors import Refused
from .values import usd_text

REMEMBER_OVER_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a start asks for; None leaves a field to the service."""

    work_order_id: str
    agent: str
    estimated_cost_usd: Decimal | None = None
    model: str | None = None
    estimated_input_tokens: int | None = None
    estimated_output_tokens: int | None = None
    lease_seconds: int | None = None
    user_id: str | None = None
    surface: str | None = None
    feature: str | None = None
    confirm: bool = False

    def body(self) -> dict[str, Any]:
        cost = self.estimated_cost_usd
        body: dict[str, Any] = {
            "workOrderId": self.work_order_id,
            "agentName": self.agent,
            "estimatedCostUsd": None if cost is None else usd_text(cost),
            "model": self.model,
            "estimatedInputTokens": self.estimated_input_tokens,
            "estimatedOutputTokens": self.estimated_output_tokens,
            "leaseSeconds": self.lease_seconds,
            "userId": self.user_id,
            "surface": self.surface,
            "feature": self.feature,
            "confirm": True if self.confirm else None,
        }
        return {name: value for name, value in body.items() if value is not None}

    def at_least(self, other: "Ask") -> bool:
        """Whether this reserves surely no less than the other; False where that is not known."""
        mine, theirs = self.estimated_cost_usd, other.estimated_cost_usd
        if mine is not None or theirs is not None:
            return mine is not None and theirs is not None and mine >= theirs
        return (
            self.model == other.model
            and (self.estimated_input_tokens or 0) >= (other.estimated_input_tokens or 0)
            and (self.estimated_output_tokens or 0) >= (other.estimated_output_tokens or 0)
        )


@dataclass(frozen=True, slots=True)
class _Remembered:
    ask: Ask
    refusal: Refused
    until: float


class RefusalMemory:
    """Refusals by a cap or a budget that time has not cured yet, by work order and denial.

    The service needs no second request to say the same again: 1,359 of them a day were seen from
    one client that took a budget's 429 for something to retry. A cheaper ask may still fit under
    a limit in dollars, so it is let through. `recheck_after` (seconds) asks again earlier than
    the reset, for a program that should notice a raised cap; None: never earlier.
    """

    def __init__(
        self,
        *,
        recheck_after: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recheck_after = recheck_after
        self._clock = clock
        self._lock = threading.Lock()
        self._refusals: dict[str, dict[str, _Remembered]] = {}

    def remember(self, ask: Ask, refusal: Refused, *, seconds: float | None) -> None:
        """Keep a refusal for the seconds until its reset, where it is of the kind that is kept."""
        if seconds is None or seconds <= REMEMBER_OVER_SECONDS or not _is_budget(refusal.denial):
            return
        if self._recheck_after is not None:
            seconds = min(seconds, self._recheck_after)
        entry = _Remembered(ask, refusal, self._clock() + seconds)
        with self._lock:
            self._refusals.setdefault(ask.work_order_id, {})[refusal.denial] = entry

    def recall(self, ask: Ask) -> Refused | None:
        """The refusal that this ask would get again, or None."""
        now = self._clock()
        with self._lock:
            known = self._refusals.get(ask.work_order_id)
            if not known:
                return None
            for denial in [name for name, entry in known.items() if entry.until <= now]:
                del known[denial]
            for denial, entry in known.items():
                if denial == "runs_per_day" or ask.at_least(entry.ask):
                    said = entry.refusal
                    return Refused(
                        status=said.status,
                        denial=said.denial,
                        error=said.error,
                        retry_after=entry.until - now,
                        reset_at=said.reset_at,
                        remembered=True,
                    )
        return None

    def forget(self, work_order_id: str | None = None) -> None:
        with self._lock:
            if work_order_id is None:
                self._refusals.clear()
            else:
                self._refusals.pop(work_order_id, None)


def with_lease(ask: Ask, seconds: int) -> Ask:
    return ask if ask.lease_seconds is not None else replace(ask, lease_seconds=seconds)


def _is_budget(denial: str) -> bool:
    return denial in {"runs_per_day", "usd_per_day"} or denial.startswith("budget:")
