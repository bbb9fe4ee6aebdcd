"""Whom a request speaks for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """What a good token was judged to be. Without a value, Tollgate itself: limited to nothing.

    What is pinned (`surface`, `feature`) wins over what a request says. Ids of events are those of
    the owner; what a token sends belongs to its line, so that successors reach it too.
    """

    token_id: int = 0
    owner_id: int = 0
    actor: str = "tollgate"
    name: str = ""
    scopes: frozenset[str] = frozenset()
    work_orders: tuple[str, ...] = ()  # none: all of them
    digest: bytes = b""
    lineage: int = 0
    surface: str = ""
    feature: str = ""


TOLLGATE = Principal()
