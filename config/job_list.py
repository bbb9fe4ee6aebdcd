"""The job queue, as the worker reads it: it runs what is on its own list, whatever the table says,
and no job twice where once is enough.

A row of the queue names a function by its dotted path, and django-q2 imports and calls whatever
that is. So a job is judged here, when it is taken from the table and before anything is imported:
it has to be signed with this installation's SECRET_KEY (django-q2 checks that too), to be on the
list of `config.schedules`, and to have neither arguments nor anything to call afterwards, because
none of ours has.

As no job has arguments, two waiting ones of the same function do the same: they are merged.
"""

import logging
import time
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import BadSignature, SignedPackage

from config.schedules import JOBS
from opslog import events, liveness

MOST = 200  # characters of a name that is reported
AFTERWARDS = ("hook", "chain", "iter_count", "cached", "sync")
BEAT_SECONDS = 20.0

log = logging.getLogger("tollgate.jobs")


class ListedJobs(ORM):
    """django-q2's queue in the database, without what is not on the list."""

    beaten: float = -BEAT_SECONDS

    def set_stat(self, key: str, value: str, timeout: int) -> None:
        """The cluster calls it twice a second, whatever its workers do: so this is where it shows
        that it lives. A job of its own would wait behind the others."""
        super().set_stat(key, value, timeout)
        if time.monotonic() - self.beaten >= BEAT_SECONDS:
            self.beaten = time.monotonic()
            self.get_connection()  # (closes one that is broken)
            liveness.beat(liveness.WORKER)

    def enqueue(self, task: str) -> int:
        """Put it into the queue, unless the same is waiting: then that one is due from now on.

        What an open transaction has touched is left alone, here and in `dequeue`: a job that starts
        sees all that its transactions have committed, and nobody waits for one that is long.
        """
        name = name_of(task)
        with transaction.atomic():
            for row in self.waiting().select_for_update(skip_locked=True):
                if name and name_of(row.payload) == name:
                    self.waiting().filter(pk=row.pk).update(lock=timezone.now())
                    return int(row.pk)
            return int(super().enqueue(task))

    def dequeue(self) -> list[tuple[int, str]] | None:
        """Take one job, and drop those that wait for the same."""
        with transaction.atomic():
            free = list(
                self.waiting()
                .filter(lock__lt=timezone.now())
                .select_for_update(skip_locked=True)
                .order_by("id")
            )
            if free:
                name = name_of(free[0].payload)
                same = [row.pk for row in free[1:] if name and name_of(row.payload) == name]
                OrmQ.objects.filter(pk__in=same).delete()
                OrmQ.objects.filter(pk=free[0].pk).update(
                    lock=timezone.now() + timedelta(seconds=Conf.RETRY)
                )
        if not free:
            time.sleep(Conf.POLL)
            return None
        taken = (free[0].pk, free[0].payload)
        return [taken] if self.accepts(*taken) else None

    def waiting(self) -> "QuerySet[OrmQ]":
        """The jobs that nobody has taken."""
        key = self.list_key or Conf.CLUSTER_NAME
        rows: QuerySet[OrmQ] = self.get_connection().filter(key=key, lock__lte=timezone.now())
        return rows

    def accepts(self, number: int, payload: str) -> bool:
        """Whether it is one of ours. What is not is taken out of the table, with an event."""
        try:
            task = SignedPackage.loads(payload)
        except (TypeError, ValueError, BadSignature):
            name, reason = "unknown", "it is not signed with this installation's key"
        else:
            name, reason = str(task.get("func"))[:MOST], why_not(task)
        if not reason:
            return True
        log.error("job %s is not run: %s", name, reason)
        with transaction.atomic():
            self.delete(number)
            events.record(
                "JOB_REFUSED",
                message=f"The job worker did not run {name}: {reason}",
                owner=("job", name),
                actor="tollgate",
                meta={"function": name, "reason": reason},
            )
        return False


def name_of(payload: str) -> str:
    """The function of a signed job that has neither arguments nor a sequel; empty for any other."""
    try:
        task = SignedPackage.loads(payload)
    except (TypeError, ValueError, BadSignature):
        return ""
    return "" if why_not(task) else str(task["func"])


def why_not(task: dict[str, Any]) -> str:
    """Why a signed job is not run; empty when it is."""
    if not isinstance(task.get("func"), str) or task["func"] not in JOBS:
        return "it is not on the list of jobs"
    if task.get("args") or task.get("kwargs"):
        return "jobs take no arguments"
    if any(task.get(name) for name in AFTERWARDS):
        return "jobs call nothing afterwards"
    return ""
