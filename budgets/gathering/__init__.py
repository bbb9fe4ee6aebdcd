"""The queue in front of `tollgate.decide_v1`: what arrived while a call was under way goes with the
next one. One for each process, on its event loop; a request that waits costs no thread.
"""

from budgets.gathering.gatherer import Gatherer

__all__ = ["Gatherer"]
