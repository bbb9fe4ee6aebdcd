"""Keeping a lease alive while the work runs."""

import logging
import threading
import time
from collections.abc import Callable

from .errors import InvalidRequest, Refused, TollgateError

log = logging.getLogger("tollgate_client")

SHORTEST_WAIT = 0.05
RUN_IS_OVER = frozenset({"", "unknown_run", "run_ended"})


class LeaseKeeper:
    """A daemon thread that renews at a third of the lease, and says when that cannot go on.

    `renew(within)` asks for a new lease (retrying for `within` seconds at most) and returns its
    length in seconds. `stop(reason, error)` is called at most once, from this thread: the service
    said no, the run is over there, or the lease ran out with the service out of reach.
    """

    def __init__(
        self,
        *,
        name: str,
        seconds: float,
        renew: Callable[[float], float],
        stop: Callable[[str, str], None],
    ) -> None:
        self._renew = renew
        self._stop = stop
        self._seconds = seconds
        self._ends = time.monotonic() + seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def left(self) -> float:
        """Seconds until the lease ends, by the last renewal."""
        return max(0.0, self._ends - time.monotonic())

    def end(self) -> None:
        """Renew no more. A renewal in flight is harmless: it is not waited for."""
        self._done.set()

    def _keep(self) -> None:
        wait = self._seconds / 3
        while not self._done.wait(wait):
            asked = time.monotonic()
            left = self._ends - asked
            if left <= 0:
                self._say("lease_lost", "the lease ran out before it could be renewed")
                return
            try:
                self._seconds = self._renew(left)
            except (Refused, InvalidRequest) as error:
                if must_stop(error):
                    self._say(stop_reason(error), error.error)
                    return
                trouble: Exception = error
            except (
                TollgateError,
                RuntimeError,
                OSError,
            ) as error:  # RuntimeError: a closed client.
                trouble = error
            else:
                self._ends = asked + self._seconds
                wait = self._seconds / 3
                continue
            left = max(self._ends - time.monotonic(), 0.0)
            wait = max(SHORTEST_WAIT, min(self._seconds / 12, left))
            if not self._done.is_set():
                log.warning("a lease was not renewed, %.1f s are left: %s", left, trouble)

    def _say(self, reason: str, error: str) -> None:
        if not self._done.is_set():
            self._stop(reason, error)


def must_stop(error: TollgateError) -> bool:
    """Whether this answer to an extension ends the work: it may not spend (401, 403), or the run
    is no longer open (404, 409). A limit (429) only says that there is no more for now."""
    return isinstance(error, Refused | InvalidRequest) and error.status in (401, 403, 404, 409)


def stop_reason(error: Refused | InvalidRequest) -> str:
    denial = error.denial if isinstance(error, Refused) else ""
    return "finished" if denial in RUN_IS_OVER else denial
