"""Jobs of the log; each is safe to run twice."""

from django.db.models.functions import Now

from opslog.models import Heartbeat


def beat() -> None:
    """Says that jobs are worked off: scheduled each minute, read by /readyz and by an alert."""
    Heartbeat.objects.update_or_create(name="worker", defaults={"at": Now()})
