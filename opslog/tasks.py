"""Jobs of the ground floor. Each is safe to run twice."""

from django.db import connection
from django.utils import timezone

from opslog import delivery
from opslog.incidents import watching
from opslog.models import Heartbeat

WORKER = "worker"


def beat() -> None:
    """Tell that the job worker works; `/readyz` looks at it."""
    Heartbeat.objects.update_or_create(name=WORKER, defaults={"at": timezone.now()})


def make_partitions() -> int:
    """Make the log's partitions for the coming months. Gives how many were made."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tollgate_ensure_event_partitions()")
        return int(cursor.fetchone()[0])


def deliver_messages() -> int:
    """Send the messages that are due. Gives how many were tried."""
    return delivery.deliver_due()


def watch_incidents() -> tuple[int, int, int]:
    """Every five minutes: which incidents are over, whom to tell, whom to remind. Gives how many
    were stabilised, escalated and reminded of."""
    return watching.watch(now=timezone.now())
