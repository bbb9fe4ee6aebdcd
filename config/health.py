"""`/healthz`: the process answers. `/readyz`: what it needs is there, each dependency named."""

import threading
import time
from functools import cache

from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from budgets.admission import counters
from budgets.environment import any_environment, environment_problem
from opslog.database import routines

ANSWER_SECONDS = 2.5
FRESH_SECONDS = 0.5
STALE_SECONDS = 180
PUT_OFF = """
SELECT name FROM django_q_schedule
WHERE next_run > now() + make_interval(mins => 2 * coalesce(minutes, 1440)) LIMIT 1
"""
NAMES = ("database", "migrations", "routines", "environment", "worker")


class Examination:
    """What was found so far, reason by name; one at a time, shared by all who ask meanwhile, and
    shortly after: everybody may ask, and each costs a connection to the database."""

    lock = threading.Lock()
    current: "Examination | None" = None

    def __init__(self) -> None:
        self.checks = dict.fromkeys(NAMES, "the database did not answer in time")
        self.clock = ""
        self.ended = 0.0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.clock = _examine(self.checks)
        self.ended = time.monotonic()

    @property
    def current_enough(self) -> bool:
        if self.thread.is_alive():
            return True
        # What failed is looked at again at once: it may be back.
        return not any(self.checks.values()) and time.monotonic() - self.ended < FRESH_SECONDS

    @classmethod
    def shared(cls) -> "Examination":
        with cls.lock:
            if cls.current is None or not cls.current.current_enough:
                cls.current = cls()
            return cls.current


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when all is well, else 503; a database that hangs does not make this hang.

    Rows that are dated in the future are a warning: they stop nobody, and no restart removes them.
    """
    examination = Examination.shared()
    examination.thread.join(ANSWER_SECONDS)
    found = dict(examination.checks)
    body = {
        name: {"status": "failed", "reason": reason} if reason else {"status": "ok"}
        for name, reason in found.items()
    }
    if warning := examination.clock:
        body["clock"] = {"status": "warning", "reason": warning}
    return JsonResponse(body, status=503 if any(found.values()) else 200)


def _examine(checks: dict[str, str]) -> str:
    """Fills in a reason per failed check, an empty one where all is well. Returns the warning about
    rows from the future, or "".

    In a thread of its own, which a dead network can hold up.
    """
    try:
        with any_environment(), connection.cursor() as cursor:
            cursor.execute("SELECT app, name FROM django_migrations")
            missing = expected_migrations() - set(cursor.fetchall())
            checks["database"] = ""
            names = ", ".join(sorted(".".join(migration) for migration in missing)[:3])
            checks["migrations"] = f"{len(missing)} not applied: {names}" if missing else ""
            checks["routines"] = routines.problem()
            checks["environment"] = environment_problem()
            cursor.execute(
                "SELECT extract(epoch FROM now() - at)::int FROM heartbeats WHERE name = 'worker'"
            )
            row = cursor.fetchone()
            if row is None:
                checks["worker"] = "the job worker has not reported yet"
            elif row[0] > STALE_SECONDS:
                checks["worker"] = f"the job worker last reported {row[0]} s ago"
            else:
                # The heartbeat is the cluster's own: that jobs are due is another question.
                cursor.execute(PUT_OFF)
                put_off = cursor.fetchone()
                checks["worker"] = f"the job “{put_off[0]}” was put off" if put_off else ""
        future = counters.from_the_future()
        return "dated in the future: " + "; ".join(map(str, future)) if future else ""
    except Exception as error:  # whatever it is, it is the answer
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        for name, value in checks.items():
            if value:
                checks[name] = reason
        return ""
    finally:
        connection.close()


@cache
def expected_migrations() -> frozenset[tuple[str, str]]:
    """Every migration on disk, as (app, name)."""
    disk = MigrationLoader(None, ignore_no_migrations=True).disk_migrations
    return frozenset((app, name) for app, name in disk)
