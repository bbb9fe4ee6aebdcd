"""What can go wrong on the ground floor."""

from django.db import OperationalError


class Rejected(Exception):
    """What was asked for is not done; the text says why, for the person who asked."""


class Unavailable(Exception):
    """The database did not answer, or not in time. Nothing was admitted; ask again later.

    `retry_after` is in seconds.
    """

    def __init__(self, reason: str, *, retry_after: int = 1) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Overloaded(Unavailable):
    """There was no time to decide it: nothing was decided, and nothing will be."""


class WrongDatabase(OperationalError):
    """The database belongs to something else than this process: nothing is done on it."""


class Unconfirmed(OperationalError):
    """The change was committed here, but the synchronous standby did not confirm it: a failover
    would lose it."""


class NotAllowedNow(Rejected):
    """What was asked for does not fit the state of the object."""
