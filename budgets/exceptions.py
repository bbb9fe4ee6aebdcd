"""What can go wrong with budgets. Plain Python: the API and the admin translate."""

from opslog.exceptions import Rejected


class Refused(Rejected):
    """The rules do not allow this; the text says which one, for the person who asked."""


class Conflict(Refused):
    """Somebody else was quicker, or the base moved: look again."""


class PasswordRequired(Refused):
    """The person must confirm first that it is them."""


class SecondFactorRequired(PasswordRequired):
    """The person must show their second factor first; a password is not enough."""


class NotYours(Refused):
    """A token would undo what a person, or another token, has done."""
