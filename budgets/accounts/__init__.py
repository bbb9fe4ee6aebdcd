"""People: who they are, how they get in, and what two administrators must agree on.

A name is one person's for good; a password is set by its person alone, by a one-time link; rights
that decide or do anything are given by two people, and count after a waiting time. See
docs/accounts.md.
"""

from budgets.accounts.changing import (
    ask_for_link,
    change,
    confirm,
    confirm_by_command,
    create,
    create_by_single_sign_on,
    join_by_single_sign_on,
    leave_groups,
    name_problem,
)
from budgets.accounts.membership import (
    counting,
    counting_groups,
    memberships_of,
)
from budgets.accounts.proposals import (
    close_overdue,
    confirmers,
    headline,
    refuse,
    waiting_for,
    why_not,
)

__all__ = [
    "ask_for_link",
    "change",
    "close_overdue",
    "confirm",
    "confirm_by_command",
    "confirmers",
    "counting",
    "counting_groups",
    "create",
    "create_by_single_sign_on",
    "headline",
    "join_by_single_sign_on",
    "leave_groups",
    "links",
    "membership",
    "memberships_of",
    "name_problem",
    "names",
    "notices",
    "passwords",
    "refuse",
    "signing_in",
    "waiting_for",
    "why_not",
]
