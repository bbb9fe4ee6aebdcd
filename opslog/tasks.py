"""Jobs of the ground floor. Each is safe to run twice."""

import logging

from django.db import connection
from django.utils import timezone

from opslog import delivery
from opslog.models import Heartbeat
from opslog.sealing import heads, keys, sealer

WORKER = "worker"

log = logging.getLogger(__name__)


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


def seal_events() -> int:
    """Seal what is committed. Gives how many events. Without a key here there is nothing to do."""
    try:
        return sealer.seal().events
    except keys.NoKey as error:
        log.warning("the log is not sealed: %s", error)
        return 0


def post_seal_head() -> bool:
    """Send the newest head to the webhook of the settings."""
    return heads.post_newest()
