"""What happens between a running database and a running server, in one process: imports cost.

`python -m config.run.prepare` is a step of `make run`. Exit code 2 and one line: a setting is
wrong.
"""

import os
import sys


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django
    from django.core.exceptions import ImproperlyConfigured

    try:
        django.setup()
    except (ImproperlyConfigured, ValueError) as error:
        print(f"A setting is wrong: {error}", file=sys.stderr)
        return 2

    from django.core.management import CommandError
    from django.db import DatabaseError

    from budgets.environment import environment_problem
    from config.checks import WrongSettings, require_settings
    from config.run.static import collect_if_changed
    from opslog.database import routines

    try:
        require_settings()
    except WrongSettings as error:
        print(error, file=sys.stderr)
        return 2
    if problem := environment_problem():
        print(f"A setting is wrong: {problem}", file=sys.stderr)
        return 2
    try:
        # Two first starts at once, on two hosts: the second waits, and finds it done.
        with routines.alone("owner"):
            migrate()
            fill()
    except (DatabaseError, CommandError) as error:
        reason = " ".join(str(error).split())
        print(f"The database could not be brought up to date: {reason}", file=sys.stderr)
        return 2
    if collect_if_changed():
        print("Static files collected.", flush=True)
    return 0


def fill() -> None:
    """The demo, into an empty database where it is wanted."""
    from django.conf import settings
    from django.core.management import call_command, get_commands

    if settings.TOLLGATE_DEMO and "seed_demo" in get_commands() and is_empty():
        call_command("seed_demo")
    elif has_no_prices():
        print(
            "No model has a price yet: manage.py update_prices shows what would be entered.",
            flush=True,
        )


def migrate() -> None:
    """Migrates as the owner and installs the routines; where nothing is to do, two queries."""
    from django.core.management import call_command
    from django.db import connections
    from django.db.migrations.recorder import MigrationRecorder

    from config.health import expected_migrations
    from config.schedules import ensure_schedules
    from opslog.database import routines

    applied = set(MigrationRecorder(connections["owner"]).applied_migrations())
    missing = expected_migrations() - applied
    if missing or routines.problem("owner"):
        what = f"{len(missing)} migrations" if missing else "this release's routines"
        print(f"Applying {what}.", flush=True)
        call_command("migrate", database="owner", interactive=False, verbosity=0)
    ensure_schedules(using="owner")
    # After months at rest the first event must find its partition, before the job has run.
    routines.make_partitions("owner")


def has_no_prices() -> bool:
    from opslog.models import ModelPrice

    return not ModelPrice.objects.exists()


def is_empty() -> bool:
    from django.contrib.auth import get_user_model

    from workorders.models import WorkOrder

    return not (WorkOrder.objects.exists() or get_user_model().objects.exists())


if __name__ == "__main__":
    sys.exit(main())
