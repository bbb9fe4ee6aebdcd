"""What can go wrong with the governed things. Plain Python: the API and the admin translate."""

from opslog.exceptions import NotAllowedNow


class AlreadyExists(Exception):
    """There is one with this id already."""


class ReservedId(NotAllowedNow):
    """The id of a work order would be a word of the API's addresses."""
