"""What can go wrong with governed objects. Plain Python: the API and the admin translate."""

from opslog.exceptions import NotAllowedNow, Rejected


class AlreadyExists(Rejected):
    """There is one with this id already."""


class ReservedId(NotAllowedNow):
    """The id of a work order would be a word of the API's addresses."""
