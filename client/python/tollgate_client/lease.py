"""Keeping a lease alive while the work runs."""

import logging
import time
from collections.abc import Callable
from typing import Protocol

from .errors import InvalidRequest, Refused, TollgateError
from .steps import Pause, Steps

log = logging.getLogger("tollgate_client")

SHORTEST_WAIT = 0.05
RUN_IS_OVER = frozenset({"", "unknown_run", "run_ended"})


class Renew(Protocol):
    def __call__(self, within: float) -> Steps[float]: ...


class Lease:
    """When the lease of a run ends, and how it is renewed: at a third of it.

    `renew(within)` asks for a new lease (retrying for `within` seconds at most) and results in its
    length in seconds. `stop(reason, error)` is called at most once, by whoever keeps it: the
    service refused, the run is over there, or the lease ran out with the service out of reach.
    """

    def __init__(self, *, seconds: float, renew: Renew, stop: Callable[[str, str], None]) -> None:
        self._renew = renew
        self._stop = stop
        self._seconds = seconds
        self._ends = time.monotonic() + seconds
        self.over = False

    @property
    def left(self) -> float:
        """Seconds until the lease ends, by the last renewal."""
        return max(0.0, self._ends - time.monotonic())

    def keep(self) -> Steps[None]:
        """Renew until a pause is ended early, which means that the run was left."""
        wait = self._seconds / 3
        while not (yield Pause(wait)):
            asked = time.monotonic()
            left = self._ends - asked
            if left <= 0:
                self._say("lease_lost", "the lease ran out before it could be renewed")
                return
            try:
                self._seconds = yield from self._renew(left)
            except (Refused, InvalidRequest) as error:
                if must_stop(error):
                    self._say(stop_reason(error), error.error)
                    return
                trouble: Exception = error
            except (TollgateError, RuntimeError, OSError) as error:  # RuntimeError: a closed client
                trouble = error
            else:
                self._ends = asked + self._seconds
                wait = self._seconds / 3
                continue
            left = max(self._ends - time.monotonic(), 0.0)
            wait = max(SHORTEST_WAIT, min(self._seconds / 12, left))
            if not self.over:
                log.warning("a lease was not renewed, %.1f s are left: %s", left, trouble)

    def _say(self, reason: str, error: str) -> None:
        if not self.over:
            self._stop(reason, error)


def must_stop(error: TollgateError) -> bool:
    """Whether this answer to an extension ends the work: it may not spend (401, 403), or the run
    is no longer open (404, 409). A limit (429) only says that there is no more for now."""
    return isinstance(error, Refused | InvalidRequest) and error.status in (401, 403, 404, 409)


def stop_reason(error: Refused | InvalidRequest) -> str:
    denial = error.denial if isinstance(error, Refused) else ""
    return "finished" if denial in RUN_IS_OVER else denial
