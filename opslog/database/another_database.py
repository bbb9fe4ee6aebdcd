"""Work on another database than the one in the settings: for what is played, never on real rows."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections

ALIASES = ("default", "owner")


@contextmanager
def connected_to(database: str) -> Iterator[None]:
    """This process uses another database of the same server for a while. Not for threads that
    have connections already."""
    before = {alias: connections[alias].settings_dict["NAME"] for alias in ALIASES}

    def point(names: dict[str, str]) -> None:
        for alias, name in names.items():
            connections[alias].close()
            connections[alias].settings_dict["NAME"] = name

    point(dict.fromkeys(ALIASES, database))
    try:
        yield
    finally:
        point(before)
