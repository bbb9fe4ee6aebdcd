"""The job queue, as the worker reads it: it runs what is on its own list, whatever the table says.

A row of the queue names a function by its dotted path, and django-q2 imports and calls whatever
that is. So a job is judged here, when it is taken from the table and before anything is imported:
it has to be signed with this installation's SECRET_KEY (django-q2 checks that too), to be on the
list of `config.schedules`, and to have neither arguments nor anything to call afterwards, because
none of ours has.
"""

import logging
from typing import Any

from django.db import transaction
from django_q.brokers.orm import ORM
from django_q.signing import BadSignature, SignedPackage

from config.schedules import JOBS
from opslog import events

MOST = 200  # characters of a name that is told
AFTERWARDS = ("hook", "chain", "iter_count", "cached", "sync")

log = logging.getLogger("tollgate.jobs")


class ListedJobs(ORM):
    """django-q2's queue in the database, without what is not on the list."""

    def dequeue(self) -> list[tuple[int, str]] | None:
        return [row for row in super().dequeue() or () if self.accepts(*row)] or None

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


def why_not(task: dict[str, Any]) -> str:
    """Why a signed job is not run; empty when it is."""
    if not isinstance(task.get("func"), str) or task["func"] not in JOBS:
        return "it is not on the list of jobs"
    if task.get("args") or task.get("kwargs"):
        return "jobs take no arguments"
    if any(task.get(name) for name in AFTERWARDS):
        return "jobs call nothing afterwards"
    return ""
