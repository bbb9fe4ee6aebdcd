"""What can go wrong between a program and its Tollgate. None of these carries the token."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .values import Admission, Settlement


class TollgateError(Exception):
    """The base of every error here. Each survives pickling, so that it can leave a process pool."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self._public(), self.args, self.__dict__)

    def _public(self) -> type["TollgateError"]:
        return type(self)


def _again(
    kind: type[TollgateError], args: tuple[Any, ...], state: dict[str, Any]
) -> TollgateError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class Refused(TollgateError):
    """The service refused, by a policy. Asking again before `reset_at` gets the same answer.

    `denial` names the limit (`runs_per_day`, `usd_per_day`, `concurrency`, `kill_switch`, …),
    `subject` whose it is where it is a shared one (`model:gpt-4o`, `agent:digest-1`, `global`),
    `error` is the service's sentence, `retry_after` is in seconds, and `reset_at` is when time
    cures it (None: time does not). `remembered` is True where no request was made, because the
    same refusal is known to be in force still.
    """

    def __init__(
        self,
        *,
        status: int,
        denial: str,
        error: str,
        retry_after: float | None = None,
        reset_at: datetime | None = None,
        subject: str = "",
        remembered: bool = False,
    ) -> None:
        until = f", until {reset_at.isoformat()}" if reset_at else ""
        whose = f" of {subject}" if subject else ""
        super().__init__(f"{error} ({denial or status}{whose}{until})")
        self.status = status
        self.denial = denial
        self.error = error
        self.retry_after = retry_after
        self.reset_at = reset_at
        self.subject = subject
        self.remembered = remembered


class InvalidRequest(TollgateError):
    """The service did not accept the request itself: a fault of the caller, never retried.

    `fields` has the service's messages by field where it named any.
    """

    def __init__(
        self, *, status: int, error: str, fields: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        named = "; ".join(f"{name}: {' '.join(texts)}" for name, texts in (fields or {}).items())
        super().__init__(f"{error} ({status})" + (f": {named}" if named else ""))
        self.status = status
        self.error = error
        self.fields = dict(fields or {})


class Unavailable(TollgateError):
    """No answer, or none that says anything, after every retry that was allowed.

    After a start this means "do not spend": if the service did admit the run and only its answer
    was lost, the run is canceled in the background, unless the caller gave it an idempotency key.
    After the work it means that the settlement did not arrive, see `Run`.
    """


class AlreadyEnded(TollgateError):
    """The run of this idempotency key has ended: the work was done, and must not be paid twice.

    `status` is `success`, `error`, `cancelled` or `expired`, and `cost_usd` what is on record of
    it (None where the service does not say). `settlement` has the rest; None until the end of an
    expired lease is recorded.
    """

    def __init__(
        self,
        *,
        run_id: str,
        status: str,
        cost_usd: Decimal | None = None,
        settlement: "Settlement | None" = None,
    ) -> None:
        cost = "" if cost_usd is None else f" at ${cost_usd}"
        super().__init__(
            f"run {run_id} has already ended: {status or 'settled'}{cost}. "
            "Other work needs another idempotency key"
        )
        self.run_id = run_id
        self.status = status
        self.cost_usd = cost_usd
        self.settlement = settlement

    @classmethod
    def of(cls, replay: "Admission") -> "AlreadyEnded":
        """The error for a replayed start whose run is over."""
        settlement = replay.settlement
        status = "" if replay.status == "running" else replay.status
        cost = settlement.cost_usd if settlement else None
        if settlement is None and status == "expired":
            cost = replay.reserved_usd  # what the end of a lease settles
        return cls(run_id=replay.run_id, status=status, cost_usd=cost, settlement=settlement)


class NoRun(TollgateError):
    """A metered model call outside of any run. Enter a run first, or meter with
    `outside="allow"`."""


TERMINATED = ("terminated", "the program is being terminated")  # a StopRun, after SIGTERM


class StopRun(TollgateError):
    """Raised in the running work: it may not go on spending.

    `reason` is the service's denial (`kill_switch`, `token`, …), `finished` where the run is no
    longer open on the service, `lease_lost` where the lease ran out before it could be renewed, or
    `terminated` where the program got SIGTERM.
    """

    def __init__(self, reason: str = "", error: str = "") -> None:
        super().__init__(f"{error or 'the run has to stop'} ({reason or 'stopped'})")
        self.reason = reason
        self.error = error

    def _public(self) -> type[TollgateError]:
        return StopRun
