"""`migrate`, one at a time on any number of hosts. The stored routines are installed at its end."""

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

from opslog.database import routines
from opslog.management.base import Documented

BEFORE_THE_FIRST_RELEASE = ("opslog", "0002_event_log")


class Command(Documented, migrate.Command):
    examples = ("manage.py migrate --database owner",)
    exits = {1: "the database cannot be brought to this release"}
    help = "Updates the tables, then the stored routines. Run it as the owner: --database owner."

    def handle(self, *args: Any, **options: Any) -> None:
        """Raises CommandError where the database cannot be brought to this release."""
        with routines.alone(options["database"]):
            recorder = MigrationRecorder(connections[options["database"]])
            if BEFORE_THE_FIRST_RELEASE in recorder.applied_migrations():
                raise CommandError(
                    "This database was made before the first release, whose tables begin anew: "
                    "make a new database, or choose another TOLLGATE_DATA."
                )
            try:
                super().handle(*args, **options)
            except routines.CannotInstall as error:
                raise CommandError(str(error)) from None
