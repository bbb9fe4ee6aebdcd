"""Who may apply a proposal: whoever may change that control without an incident.

Pages offer a person only what that person may do, and it is asked again when it is done.
"""

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser, User

from opslog.groups import is_operator
from opslog.models import Mitigation

Lever = Mitigation.Lever
EVERYTHING = "Global"  # the target of the kill switch that stops everything
OF_A_FEATURE = ("budgets.add_featurecontrol", "budgets.change_featurecontrol")


def needed(lever: str, target: str) -> tuple[str, ...]:
    """The permissions that applying this takes, all of them."""
    if lever == Lever.KILL_SWITCH:
        return ("budgets.stop_everything" if target == EVERYTHING else "budgets.stop_identity",)
    if lever == Lever.LOWER_CAP:
        return ("budgets.ask_changerequest",)
    return OF_A_FEATURE


def may_apply(mitigation: Mitigation, person: AbstractBaseUser | AnonymousUser) -> bool:
    if not isinstance(person, User) or not person.is_active:
        return False
    if not person.has_perms(needed(mitigation.lever, mitigation.target)):
        return False
    return mitigation.lever != Lever.LOWER_CAP or is_operator(person)
