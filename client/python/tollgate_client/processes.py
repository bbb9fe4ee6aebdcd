"""What a fork leaves behind: a child has none of its parent's threads, shares its sockets, and gets
copies of locks that another thread may have held.

So everything that holds one of these is registered here and starts anew in the child, before any
other code runs there: after `os.fork`, in multiprocessing's children, in the workers of a web
server that loaded the program before it forked.
"""

import os
import weakref
from typing import Protocol


class Renewed(Protocol):
    def renew_after_fork(self) -> None: ...


_registered: "weakref.WeakSet[Renewed]" = weakref.WeakSet()


def register(holder: Renewed) -> None:
    """Have `holder.renew_after_fork()` called in every child that is forked from here on."""
    _registered.add(holder)


def _renew_all() -> None:
    for holder in list(_registered):
        holder.renew_after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_renew_all)


def belongs_to(process: int, run_id: str) -> RuntimeError:
    """The error of a process that touches a run which another one entered."""
    return RuntimeError(
        f"run {run_id} belongs to process {process}, which entered it and settles it; this is "
        f"process {os.getpid()}. Start a run of its own here, or report the cost to that process."
    )
