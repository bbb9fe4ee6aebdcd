"""Work on another database than the one in the settings: for what is played, never on real rows."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from django.conf import settings
from django.db import connections
from django.utils.module_loading import import_string

ALIASES = ("default", "owner")


def scratch_service(**options: Any) -> AbstractContextManager[Any]:
    """A whole service on a database of its own, as the settings name it (`config.run.scratch`)."""
    made: AbstractContextManager[Any] = import_string(settings.TOLLGATE_SCRATCH_SERVICE)(**options)
    return made


def scratch_database(template: str | None = None) -> AbstractContextManager[str]:
    """The name of a fresh, migrated database, dropped afterwards; `template`: to clone."""
    made: AbstractContextManager[str] = import_string(settings.TOLLGATE_SCRATCH_DATABASE)(template)
    return made


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
