"""The job worker. It does not start on routines that it cannot speak with."""

import sys
from typing import Any

from django_q.management.commands import qcluster

from opslog import routines


class Command(qcluster.Command):  # type: ignore[misc]  # django-q2 is untyped
    def handle(self, *args: Any, **options: Any) -> None:
        if problem := routines.start_problem():
            print(f"tollgate: the job worker does not start: {problem}", file=sys.stderr)
            sys.exit(2)
        super().handle(*args, **options)
