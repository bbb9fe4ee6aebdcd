"""What can go wrong between a program and its Tollgate. None of these carries the token."""

from collections.abc import Mapping, Sequence
from datetime import datetime


class TollgateError(Exception):
    """The base of every error here."""


class Refused(TollgateError):
    """The service said no, by a policy. Asking again before `reset_at` gets the same answer.

    `denial` names the limit (`runs_per_day`, `usd_per_day`, `concurrency`, `kill_switch`, …),
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
        remembered: bool = False,
    ) -> None:
        until = f", until {reset_at.isoformat()}" if reset_at else ""
        super().__init__(f"{error} ({denial or status}{until})")
        self.status = status
        self.denial = denial
        self.error = error
        self.retry_after = retry_after
        self.reset_at = reset_at
        self.remembered = remembered


class InvalidRequest(TollgateError):
    """The service did not accept the request itself: a fault of the caller, never retried.

    `fields` has the service's messages by field where it named any.
    """

    def __init__(
        self, *, status: int, error: str, fields: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        named = "; ".join(f"{name}: {' '.join(said)}" for name, said in (fields or {}).items())
        super().__init__(f"{error} ({status})" + (f": {named}" if named else ""))
        self.status = status
        self.error = error
        self.fields = dict(fields or {})


class Unavailable(TollgateError):
    """No answer, or none that says anything, after every retry that was allowed.

    After a start this means "do not spend": if the service did admit the run and only its answer
    was lost, the lease runs out and the reservation is settled there.
    """


class StopRun(TollgateError):
    """Raised in the running work: it may not go on spending.

    `reason` is the service's denial (`kill_switch`, `token`, …), `finished` where the run is no
    longer open on the service, or `lease_lost` where the lease ran out before it could be renewed.
    """

    def __init__(self, reason: str = "", error: str = "") -> None:
        super().__init__(f"{error or 'the run has to stop'} ({reason or 'stopped'})")
        self.reason = reason
        self.error = error
