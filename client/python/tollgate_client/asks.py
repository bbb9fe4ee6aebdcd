"""One ask for a run, and the memory of limits that refused until a known time."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
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
        """Whether this surely reserves no less than the other, in dollars and in tokens; False
        where that is not known. A cost that is not given is the service's to say: by the model and
        the tokens, or by the history of the work order."""
        mine, theirs = self._amounts(), other._amounts()
        if self.estimated_cost_usd is None and self.model != other.model:
            return False
        return all(
            (one is None and another is None)
            or (one is not None and another is not None and one >= another)
            for one, another in zip(mine, theirs, strict=True)
        )

    def _amounts(self) -> tuple[Decimal | int | None, ...]:
        return self.estimated_cost_usd, self.estimated_input_tokens, self.estimated_output_tokens


# What an ask has to have in common with a refused one to be under the same limit, by the scope of
# the limit. (A team, for example, is the service's knowledge about a work order.) The work order is
# always the same: another one may have another estimate, where none was given.
ALL_FIELDS = ("agent", "model", "user_id", "surface", "feature")
SAME_FIELDS = {
    "global": (),
    "work_order": (),
    "team": (),
    "cost_dimension": (),
    "address": (),
    "agent": ("agent",),
    "model": ("model",),
    "model_tier": ("model",),
    "user": ("user_id",),
    "surface": ("surface",),
    "feature": ("feature",),
    "feature_user": ("feature", "user_id"),
}


@dataclass(slots=True)
class _Remembered:
    ask: Ask
    refusal: Refused
    seconds: float  # until the reset, from `since`
    since: float
    until: float
    keys: set[str] = field(default_factory=set)


class RefusalMemory:
    """Refusals by a cap or a budget that time has not cured yet, by the limit that refused.

    The service needs no second request to say the same again: 1,359 of them a day were seen from
    one client that took a budget's 429 for something to retry. What may be admitted is always
    asked: another model, agent, user or feature than the limit is about, a cheaper request under a
    limit in dollars, an idempotency key that may belong to an admitted run, and everything again
    after `recheck_after` seconds, since caps are raised and other runs give back money.
    """

    def __init__(
        self, *, recheck_after: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._recheck_after = recheck_after
        self._clock = clock
        self._lock = threading.Lock()
        self._refusals: dict[str, dict[tuple[str, ...], _Remembered]] = {}

    def renew_after_fork(self) -> None:
        self._lock = threading.Lock()

    def remember(self, ask: Ask, refusal: Refused, *, seconds: float | None, key: str = "") -> None:
        """Keep a refusal for the seconds until its reset, where it is of the kind that is kept."""
        if seconds is None or seconds <= REMEMBER_OVER_SECONDS or not _is_budget(refusal.denial):
            return
        now = self._clock()
        fields = _fields(refusal.denial)
        limit = (refusal.denial, *(str(getattr(ask, name)) for name in fields))
        with self._lock:
            known = self._refusals.setdefault(ask.work_order_id, {})
            for old in [name for name, entry in known.items() if entry.until <= now]:
                del known[old]
            keys = known[limit].keys if limit in known else set()
            until = now + min(seconds, self._recheck_after)
            known[limit] = _Remembered(ask, refusal, seconds, now, until, keys | {key})

    def recall(self, ask: Ask, *, key: str = "") -> Refused | None:
        """The refusal that this ask would get again, or None. `key`: the caller's own idempotency
        key, which may belong to a run that was admitted; "" for a fresh one."""
        now = self._clock()
        with self._lock:
            for entry in self._refusals.get(ask.work_order_id, {}).values():
                refusal = entry.refusal
                if (
                    entry.until > now
                    and (not key or key in entry.keys)
                    and all(
                        getattr(ask, name) == getattr(entry.ask, name)
                        for name in _fields(refusal.denial)
                    )
                    and (refusal.denial == "runs_per_day" or ask.at_least(entry.ask))
                ):
                    return Refused(
                        status=refusal.status,
                        denial=refusal.denial,
                        error=refusal.error,
                        retry_after=entry.since + entry.seconds - now,
                        reset_at=refusal.reset_at,
                        subject=refusal.subject,
                        remembered=True,
                    )
        return None

    def give_back(self) -> None:
        """A run has ended and given back some of what it reserved: ask again. (Which limits that
        frees is the service's knowledge; a number of runs it does not.)"""
        with self._lock:
            for known in self._refusals.values():
                for limit in [limit for limit in known if limit[0] != "runs_per_day"]:
                    del known[limit]

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


def _fields(denial: str) -> tuple[str, ...]:
    scope = denial.split(":")[1] if ":" in denial else "work_order"
    return SAME_FIELDS.get(scope, ALL_FIELDS)
