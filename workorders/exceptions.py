"""What can go wrong with the governed things. Plain Python: the API and the admin translate."""

from opslog.exceptions import Rejected


class AlreadyExists(Rejected):
    """There is one with this id already."""


class NotAllowedNow(Rejected):
    """The state, or a rule, does not allow it; the text says which."""


class ReservedId(NotAllowedNow):
    """The id of a work order would be a word of the API's addresses."""
