#!/usr/bin/env python
"""Django's command line, for Tollgate."""

import os
import sys


def require_settings(words: list[str]) -> None:
    """Some commands skip the system checks, and --skip-checks does. `check` lists what is wrong."""
    from django.conf import settings

    from config.environment import PROBLEMS, wrong_lines

    if words[:1] in ([], ["help"], ["check"], ["version"]) or {"-h", "--help", "--version"} & {
        *words
    }:
        return
    settings.DATABASES  # noqa: B018  (reads them)
    if PROBLEMS:
        sys.exit(f"tollgate: {wrong_lines(each.line for each in PROBLEMS.values())}")


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError
    from psycopg import OperationalError as DriverError

    from config.run.data_folder import NOT_RUNNING, EmbeddedError
    from opslog.exceptions import WrongDatabase

    try:
        require_settings(sys.argv[1:])
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"tollgate: {error}")
    except EmbeddedError as error:
        sys.exit(f"tollgate: {error}")
    except WrongDatabase as error:
        sys.exit(f"tollgate: {error}")
    except (OperationalError, DriverError) as error:
        if NOT_RUNNING not in str(error):
            raise
        sys.exit("tollgate: no database is running: start it with `make run`, or set DATABASE_URL.")


if __name__ == "__main__":
    main()
