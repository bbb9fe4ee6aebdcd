"""What an incident can pull. The controls belong to the floor above, which says when it starts how
their values are read, and who may change one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser

from opslog.models import Mitigation

Person = AbstractBaseUser | AnonymousUser


@dataclass(frozen=True, slots=True)
class Levers:
    """`values_of` a feature's control by name, empty where none is set; `may_apply` is whoever may
    change that control without an incident."""

    values_of: Callable[[str], Mapping[str, Any]]
    may_apply: Callable[[Mitigation, Person], bool]


_levers: list[Levers] = []


def register(levers: Levers) -> None:
    _levers[:] = [levers]


def values_of(feature: str) -> Mapping[str, Any]:
    """A proposal that promises what is set already would promise nothing. Empty where no control
    is set, or nothing reads them."""
    return _levers[0].values_of(feature) if feature and _levers else {}


def may_apply(mitigation: Mitigation, person: Person) -> bool:
    return bool(_levers) and _levers[0].may_apply(mitigation, person)
