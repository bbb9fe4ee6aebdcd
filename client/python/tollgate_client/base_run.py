"""What a run is, whoever waits for the answers."""

import asyncio
import functools
import logging
import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from .asks import Ask
from .context import Entered, current_run, within
from .errors import InvalidRequest, Refused, StopRun, TollgateError, Unavailable
from .lease import Lease, must_stop, stop_reason
from .ledger import Call, Ledger, Spent
from .processes import belongs_to
from .steps import Steps, Waiter, woken
from .usage import usage_of
from .values import Admission, Extension, Money, Settlement, Usage, usd, usd_text

if TYPE_CHECKING:
    from .base import BaseClient

log = logging.getLogger("tollgate_client")

P = ParamSpec("P")
T = TypeVar("T")
Status = Literal["success", "error", "cancelled"]
# How a block ends that was asked to end, and did not fail.
CANCELLED = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)
NOT_GIVEN: Any = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a run is to be entered and left. `journal`: its settlement is on disk before it is sent,
    whatever the client does for others. `current`: entering makes it the current run."""

    ask: Ask
    key: str = ""
    interrupt: bool = False
    raises: bool = False
    patience: float | None = None
    journal: bool = False
    current: bool = True


class BaseRun:
    """The part of `Run` and `AsyncRun` that sends nothing and works in every thread and loop."""

    def __init__(self, client: "BaseClient", plan: Plan) -> None:
        self.ask = plan.ask
        self.settlement: Settlement | None = None
        self._client = client
        self._plan = plan
        self._sent_key = plan.key or str(uuid.uuid4())
        self._admission: Admission | None = None
        self._reserved = Decimal(0)
        self.ledger = Ledger()
        self._cancelled = False
        self._lock = threading.RLock()  # a signal may come while it is held
        self._waits = Waiter()  # between attempts to enter or extend; woken by a stop
        self._stop: StopRun | None = None
        self._stop_was_raised = False
        self._left = False
        self._process = 0
        self._lease: Lease | None = None
        self._entered: Entered | None = None
        self.outer: BaseRun | None = None

    def __repr__(self) -> str:
        state = self._admission.run_id if self._admission else "not started"
        return f"{type(self).__name__}({self.ask.work_order_id!r}, {state})"

    def __reduce__(self) -> Any:
        raise TypeError("a run belongs to the process that entered it: pass its id to another one")

    @property
    def admission(self) -> Admission:
        """The service's answer. Raises RuntimeError before the run was entered."""
        if self._admission is None:
            raise RuntimeError("the run was not started: use it in a with statement")
        return self._admission

    @property
    def started(self) -> bool:
        """Whether the service admitted it."""
        return self._admission is not None

    @property
    def id(self) -> str:
        return self.admission.run_id

    @property
    def reserved_usd(self) -> Decimal:
        """What the run may spend: the first reservation and all extensions."""
        return self._reserved

    @property
    def calls(self) -> tuple[Call, ...]:
        """The model calls that were metered in this run, in the order in which they ended."""
        return self.ledger.calls

    @property
    def reported(self) -> Spent:
        """What was reported so far, in dollars and in tokens that the service will price."""
        return self.ledger.spent()

    @property
    def stopped(self) -> bool:
        """Whether the work has to stop. Cheap: reads a variable."""
        self._check_process()
        return self._stop is not None

    def spent(
        self,
        usage: Any = NOT_GIVEN,
        *,
        cost_usd: Money | None = None,
        model: str = "",
        provider: str = "",
    ) -> None:
        """Add what one more call cost: its usage, or dollars. Any thread may.

        `usage` is a `Usage`, or a response or usage object of the SDKs of OpenAI, Anthropic and
        Google; `model` names the model where the object does not. A usage that is None, or cannot
        be read, is unknown: the run then costs its reservation at least, with a warning in the log.
        Raises ValueError unless exactly one of usage and `cost_usd` is given.
        """
        _check_either("spent", usage, cost_usd)
        self._check_process()
        if cost_usd is not None:
            self.ledger.add_usd(usd(cost_usd))
        elif (known := self._read(usage, model, provider)) is None:
            self.ledger.add_unknown()
        else:
            self.ledger.add_usage(known)

    def settle(
        self, *, cost_usd: Money | None = None, usage: Any = NOT_GIVEN, model: str = ""
    ) -> None:
        """Set the total of the run, in place of what was reported before. It is sent on leaving.

        `spent` adds the cost of one call; this is for work that knows its total. Takes what `spent`
        takes. Raises ValueError unless exactly one of the two is given.
        """
        _check_either("settle", usage, cost_usd)
        self._check_process()
        if cost_usd is not None:
            self.ledger.replace(usd(cost_usd))
        elif (known := self._read(usage, model, "")) is None:
            self.ledger.add_unknown()
        else:
            self.ledger.replace(known)

    def _read(self, value: Any, model: str, provider: str) -> Usage | None:
        try:
            return usage_of(value, model=model or self.ask.model or "", provider=provider)
        except ValueError as error:
            log.warning(
                "run %s: the usage of a call is unknown (%s); the run costs at least its "
                "reservation",
                self.id,
                error,
            )
            return None

    def cancel(self) -> None:
        """Say that nothing was spent: on leaving, the whole reservation is given back.

        Ignored, with a warning in the log, where a cost was reported.
        """
        self._check_process()
        self._cancelled = True

    def checkpoint(self) -> None:
        """Raise StopRun if the work has to stop. Call it between steps that cost money.

        A framework may catch it and tell the model instead: then it is raised again by the next
        checkpoint, and on leaving. Work that ends by itself looks at `stopped`.
        """
        self._check_process()
        if self._stop is not None:
            self._stop_was_raised = True
            raise self._new_stop()

    def bind(self, call: Callable[P, T]) -> Callable[P, T]:
        """The call, for another thread: there, this run is the current one."""

        @functools.wraps(call)
        def bound(*args: P.args, **kwargs: P.kwargs) -> T:
            return within(self, lambda: call(*args, **kwargs))

        return bound

    def stop_before_call(self) -> StopRun | None:
        """The stop that a model call is refused by, as `checkpoint` raises it; or None."""
        self._check_process()
        if self._stop is None:
            return None
        self._stop_was_raised = True
        return self._new_stop()

    def _may_be_open(self, error: BaseException) -> bool:
        """Whether a start that failed may have got a run which nobody knows: it was interrupted, or
        its answer was lost. With a key of the caller's, the next start with that key knows it."""
        unanswered = self._client.core.unanswered
        lost = self._sent_key in unanswered
        unanswered.discard(self._sent_key)
        gone = not isinstance(error, Exception) or isinstance(error, StopRun | Unavailable)
        return lost and gone and not self._plan.key

    def _asking(self) -> Steps[tuple[Admission, float]]:
        asking = self._client.core.enter(
            self.ask,
            key=self._plan.key,
            sent_key=self._sent_key,
            patience=self._plan.patience,
            undelivered=self._client.undelivered,
        )
        return woken(self._waits, asking)

    def _extending(
        self, additional_usd: Money | None, lease_seconds: int | None
    ) -> Steps[Extension]:
        self.checkpoint()
        extending = self._client.core.extend(
            self.id, additional_usd=additional_usd, lease_seconds=lease_seconds
        )
        try:
            extension, _ = yield from woken(self._waits, extending)
        except (Refused, InvalidRequest) as error:
            if must_stop(error):
                BaseRun.stop(self, stop_reason(error), error.error)
                self.checkpoint()
            raise
        self._reserved = extension.reserved_usd
        return extension

    def _renew(self, within: float) -> Steps[float]:
        _, seconds = yield from self._client.core.extend(
            self.id, lease_seconds=self.ask.lease_seconds, within=within
        )
        return seconds

    def _give_back(self, admission: Admission) -> None:
        """Nobody works in it. One that was open before is whoever's holds it."""
        if not (admission.replayed and self._plan.key):
            self._client.give_back(admission)

    def _new_stop(self) -> StopRun:
        assert self._stop is not None  # noqa: S101  (callers have looked)
        return StopRun(self._stop.reason, self._stop.error)

    def _check_process(self) -> None:
        if self._process not in (0, os.getpid()):
            raise belongs_to(self._process, self.id)

    def _enter_with(self, admission: Admission) -> None:
        self._admission = admission
        self._reserved = admission.reserved_usd
        self._process = os.getpid()
        self.ledger.run = admission.run_id
        self._client.hold(self)
        self.outer = current_run()
        self._entered = Entered(self) if self._plan.current else None

    def stop(self, reason: str, error: str) -> None:
        """Latch a stop: from here on, every checkpoint raises it. From any thread."""
        with self._lock:
            if self._stop is None:
                self._stop = StopRun(reason, error)
        self.end_waits()

    def end_waits(self) -> None:
        """Let entering and extending raise at once where they wait to ask again."""
        self._waits.wake()

    @property
    def is_left(self) -> bool:
        """Whether its block has ended."""
        return self._left

    def _leave_context(self) -> None:
        self._left = True
        if self._entered is not None:
            self._entered.leave()
            self._entered = None
        if self._lease is not None:
            self._lease.over = True

    def _status(self, error: BaseException | None) -> Status:
        if error is None:
            return "success"
        ended = isinstance(error, StopRun) and error.reason == "terminated"
        return "cancelled" if ended or isinstance(error, CANCELLED) else "error"

    def _outcome(
        self, error: BaseException | None, *, may_ask: bool
    ) -> Steps[tuple[Status, Decimal | Usage]]:
        """What to settle. `may_ask`: the service may be asked for prices, which takes a moment."""
        if self._cancelled:
            if self.ledger.is_empty:
                return "cancelled", Decimal(0)
            log.warning("run %s: cancel() is ignored, because a cost was reported", self.id)
        status, spent = self._status(error), self.ledger.close()
        if not spent.reported:
            log.warning("run %s reported no cost and is settled at its reservation", self.id)
            return status, self._reserved
        if not spent.unknown and not spent.usages:
            return status, spent.usd
        if not spent.unknown and not spent.usd and len(spent.usages) == 1:
            return status, spent.usages[0]
        within = self._client.wait_of(error, status)
        return status, (yield from self._in_dollars(spent, may_ask=may_ask, within=within))

    def _in_dollars(self, spent: Spent, *, may_ask: bool, within: float | None) -> Steps[Decimal]:
        """Of several models, or of tokens and dollars: finish takes one of these. Never too low: by
        list prices, without the discount for cached input; the reservation, where that is more and
        something has no price. `within`: seconds, where the work was asked to end."""
        total, unknown = spent.usd, spent.unknown
        for usage in spent.usages:
            price: Decimal | None = None
            try:
                if may_ask:
                    price = yield from self._client.core.price(usage, within=within)
            except TollgateError as error:
                may_ask = may_ask and within is None
                log.info("run %s: %s has no price: %s", self.id, usage.model, error)
            total, unknown = total + (price or 0), unknown or price is None
        if unknown:
            total = max(total, self._reserved)
        log.info("run %s: %s is settled at $%s", self.id, spent, usd_text(total))
        return usd(total)

    def _not_settled(
        self,
        trouble: TollgateError,
        status: str,
        cost: Decimal | Usage,
        error: BaseException | None,
    ) -> bool:
        """Log it, and note it in the exception of the block; whether it is to be raised."""
        amount = f"${usd_text(cost)}" if isinstance(cost, Decimal) else f"{cost}"
        late = isinstance(trouble, Unavailable)
        log.log(
            logging.WARNING if late else logging.ERROR,
            "run %s (%s) is not settled at %s%s: %s",
            *(self.id, status, amount, " yet" if late else "", trouble),
        )
        if error is not None:
            error.add_note(f"Tollgate run {self.id} is not settled at {amount}: {trouble}")
        return error is None and self._plan.raises

    def _stop_to_raise(self, error: BaseException | None) -> StopRun | None:
        """The stop that the caller has to see: whatever a framework made of it, a failure after a
        stop is that stop; and a stop that was raised in a tool, and swallowed, is none the less
        one."""
        if self._stop is None or isinstance(error, StopRun):
            return None
        if error is None:
            return self._new_stop() if self._stop_was_raised else None
        if isinstance(error, Exception) and not isinstance(error, Refused):
            return self._new_stop()
        return None

    def arrived(self, settlement: Settlement) -> None:
        self.settlement = settlement


def _check_either(name: str, usage: Any, cost_usd: Money | None) -> None:
    """Raises ValueError. A usage of None next to dollars is none; alone, it is an unknown one."""
    both = cost_usd is not None and usage is not NOT_GIVEN and usage is not None
    if both or (cost_usd is None and usage is NOT_GIVEN):
        raise ValueError(f"{name} takes either usage or cost_usd")
