"""Processes that nobody talks to: each notes that it works, and one looks after the other."""

from collections.abc import Collection
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone

from opslog import events, outbox
from opslog.groups import OPERATIONS, members
from opslog.models import Heartbeat, Severity
from opslog.outbox.notices import Notice, moment
from opslog.sealing.sealer import SEALER

WORKER, DELIVERY = "worker", "delivery"
# How long each can be silent, and what does not happen meanwhile.
SILENT_AFTER = {
    WORKER: timedelta(minutes=3),
    SEALER: timedelta(minutes=10),
    DELIVERY: timedelta(minutes=5),
}
NAMES = {WORKER: "The job worker", SEALER: "The sealer of the log", DELIVERY: "Message delivery"}
ACTIONS = {
    WORKER: "Look at the job worker's log and start it again: leases, alerts and incidents wait.",
    SEALER: "Look at the sealer's log, its key and its disk: new events are not tamper-evident.",
    DELIVERY: "Look at the log of deliver_messages and start it again: messages wait.",
}
# When this process began, or the one that it was forked from.
STARTED = timezone.now()
# Of a delivery that is silent no message comes: the job worker records an event, and logs it.
SEEN_BY_DELIVERY = (WORKER, SEALER)
SEEN_BY_WORKER = (DELIVERY,)


def beat(name: str) -> None:
    Heartbeat.objects.update_or_create(name=name, defaults={"at": Now()})


def watch(names: Collection[str], *, now: datetime, since: datetime | None = None) -> int:
    """Notify people of each that went silent, and once it works again. Returns of how many. Safe to
    run twice: each turn is claimed by a conditional update. `since`: who looks has run only since
    then, and all may have been stopped before."""
    changed = 0
    for beats in Heartbeat.objects.filter(name__in=names):
        seen = max(beats.at, since) if since else beats.at
        silent = seen < now - SILENT_AFTER[beats.name]
        if silent == (beats.silent_since is not None):
            continue
        with transaction.atomic():
            claimed = Heartbeat.objects.filter(
                name=beats.name, at=beats.at, silent_since=beats.silent_since
            ).update(silent_since=beats.at if silent else None)
            if claimed:
                _report(beats.name, beats.silent_since or beats.at, silent=silent, now=now)
                changed += 1
    return changed


def _report(name: str, since: datetime, *, silent: bool, now: datetime) -> None:
    notice = Notice(
        what=f"{NAMES[name]} is silent" if silent else f"{NAMES[name]} works again",
        change=f"worked at {moment(since)} → no sign of it since"
        if silent
        else f"silent since {moment(since)} → working",
        by="Tollgate",
        at=now,
        severity=Severity.CRITICAL if silent else Severity.INFO,
        action=ACTIONS[name] if silent else "Nothing.",
    )
    events.record(
        "PROCESS_SILENT" if silent else "PROCESS_WORKS_AGAIN",
        message=f"{notice.what}: {notice.change}",
        owner=("process", name),
        label=NAMES[name],
        actor="tollgate",
        meta={"process": name, "since": since.isoformat()},
    )
    outbox.send(
        topic="process",
        to=members(OPERATIONS),
        channels=True,
        notice=notice,
        link=f"{reverse('ops-logs')}?kind=PROCESS_SILENT",
        key=f"{name}:{since:%Y%m%dT%H%M%S}:{'silent' if silent else 'back'}",
    )
