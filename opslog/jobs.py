"""Handing work to the job worker. The one place of this floor that knows the queue."""

from django_q.tasks import async_task


def enqueue(task: str) -> None:
    """Have a job run once the caller's transaction is committed; a rollback takes it along.

    `task` is the dotted path of a function without arguments. The queue is a table of the same
    database, so no hook after the commit is needed, and none can be lost.
    """
    async_task(task)
