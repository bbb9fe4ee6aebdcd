"""What a run has spent so far, and what of it is known."""

import logging
import threading
from dataclasses import dataclass, field, replace
from decimal import Decimal

from .values import Usage

log = logging.getLogger("tollgate_client")

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One model call of a run, as evidence. No prompt and no answer is kept.

    `estimated`: its usage is a high estimate, because the answer did not say (a stream left early,
    a lost connection). `trigger` is "retry" for an attempt after one that failed. `usage` is None
    for a call that used nothing, such as one that the provider refused.
    """

    model: str
    asked_model: str = ""
    usage: Usage | None
    success: bool = True
    status: int = 0
    estimated: bool = False
    trigger: str = "user_request"
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Spent:
    """A sum: dollars, and usages that the service prices, one for each model. `unknown`: something
    was spent that nobody could say the amount of, so the reservation is the least that it cost."""

    usd: Decimal = ZERO
    usages: tuple[Usage, ...] = ()
    unknown: bool = False
    reported: bool = False

    def __str__(self) -> str:
        parts = [f"${self.usd}"] if self.usd or not self.usages else []
        parts += [
            f"{each.input_tokens} + {each.output_tokens} tokens of {each.model}"
            for each in self.usages
        ]
        return " and ".join(parts)


@dataclass(slots=True)
class Ledger:
    """Of one run; any thread may add to it. `settle()` replaces what was added by then."""

    run: str = ""
    _usd: Decimal = ZERO
    _usages: dict[tuple[str, str, str], Usage] = field(default_factory=dict)
    _unknown: bool = False
    _reported: bool = False
    _warned: bool = False
    _calls: list[Call] = field(default_factory=list)
    _in_flight: dict[int, Usage] = field(default_factory=dict)
    _answered_as: dict[str, str] = field(default_factory=dict)
    _next: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_usd(self, amount: Decimal) -> None:
        with self._lock:
            self._usd += amount
            self._reported = True

    def add_usage(self, usage: Usage) -> None:
        with self._lock:
            self._add(usage)

    def _add(self, usage: Usage) -> None:
        known = self._usages.get(usage.terms)
        self._usages[usage.terms] = usage if known is None else known + usage
        self._reported = True

    def add_unknown(self) -> None:
        with self._lock:
            self._unknown = self._reported = True

    def replace(self, amount: Decimal | Usage) -> None:
        """A total in place of what was added. A total in dollars never falls: one that does is of
        a single call, and the larger one counts."""
        with self._lock:
            if self._reported and not self._warned:
                self._warned = True
                log.warning(
                    "run %s: settle() replaces what was reported before, because it sets the total "
                    "of the run; spent() adds to it",
                    self.run,
                )
            least = ZERO if self._usages else self._usd
            self._usd, self._unknown, self._reported = ZERO, False, True
            self._usages.clear()
            if isinstance(amount, Usage):
                self._usages[amount.terms] = amount
            else:
                self._usd = max(amount, least)

    def begin(self, estimate: Usage) -> int:
        """A call is on its way: until it ends, its high estimate is what it may have cost."""
        with self._lock:
            self._next += 1
            self._in_flight[self._next] = estimate
            return self._next

    def end(self, number: int, call: Call) -> None:
        """It has ended; the second time of the same number changes nothing."""
        with self._lock:
            if self._in_flight.pop(number, None) is None:
                return
            self._calls.append(call)
            self._reported = True
            if call.asked_model and call.model != call.asked_model:
                self._answered_as[call.asked_model] = call.model
            if call.usage is not None:
                self._add(call.usage)

    @property
    def calls(self) -> tuple[Call, ...]:
        with self._lock:
            return tuple(self._calls)

    @property
    def is_empty(self) -> bool:
        with self._lock:
            return not self._reported and not self._in_flight

    def close(self) -> Spent:
        """The sum at the end of the run; calls in flight count at their high estimate."""
        with self._lock:
            for estimate in self._in_flight.values():
                self._calls.append(
                    Call(model=estimate.model, usage=estimate, success=False, estimated=True)
                )
                self._add(estimate)
            self._in_flight.clear()
            return self._sum()

    def spent(self) -> Spent:
        with self._lock:
            return self._sum()

    def _sum(self) -> Spent:
        """An estimate has the name of the model that was asked for, an answer that of its snapshot:
        these are one usage."""
        usages: dict[tuple[str, str, str], Usage] = {}
        for usage in self._usages.values():
            named = replace(usage, model=self._answered_as.get(usage.model, usage.model))
            known = usages.get(named.terms)
            usages[named.terms] = named if known is None else known + named
        return Spent(self._usd, tuple(usages.values()), self._unknown, self._reported)
