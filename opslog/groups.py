"""Who is in the groups that come with the installation."""

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser, User

OPERATIONS = "operations"


def members(*groups: str) -> list[User]:
    """The active people of these groups, each once."""
    return list(User.objects.filter(is_active=True, groups__name__in=groups).distinct())


def is_operator(person: AbstractBaseUser | AnonymousUser) -> bool:
    """Whether they may lower a limit alone, at once: the group does it, not who is a superuser."""
    if not isinstance(person, User) or not person.is_active:
        return False
    return person.groups.filter(name=OPERATIONS).exists()
