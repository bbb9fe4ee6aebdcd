"""Jobs of the ground floor. Each is safe to run twice."""

from django.conf import settings
from django.utils import timezone

from opslog import liveness
from opslog.database.query import value
from opslog.incidents import triage_job, watching
from opslog.models import Heartbeat
from opslog.telemetry import rollup, traces, weeks


def watch_processes() -> int:
    """Record that message delivery is silent, or works again. Returns of how many.

    A delivery that was never started has no row of its own, and is silent all the same.
    """
    Heartbeat.objects.get_or_create(name=liveness.DELIVERY, defaults={"at": timezone.now()})
    return liveness.watch(liveness.SEEN_BY_WORKER, now=timezone.now(), since=liveness.STARTED)


def make_partitions() -> int:
    """Make the log's partitions for the coming months. Returns how many were made."""
    return int(value("SELECT tollgate.ensure_event_partitions_v1()"))


def sum_up_telemetry() -> int:
    """Sum up the hours that something was written into. Returns how many."""
    return rollup.refresh()


def keep_weeks_of_telemetry() -> list[str]:
    """Make the coming weeks' partitions; drop those past retention. Returns the dropped ones."""
    traces.forget()
    weeks.make()
    rollup.refresh()
    return weeks.drop(older_than_days=settings.TOLLGATE_EVENT_RETENTION_DAYS)


def watch_incidents() -> tuple[int, int, int]:
    """Every five minutes: which incidents are over, whom to tell, whom to remind. Returns how many
    were stabilised, escalated and reminded of."""
    return watching.watch(now=timezone.now())


def run_triage() -> int | None:
    """Judge the cost of the hours that are over; returns the incident about it, if there is one."""
    rollup.refresh()
    incident = triage_job.run(now=timezone.now())
    return incident.pk if incident else None
