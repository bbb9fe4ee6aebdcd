"""Ask a Tollgate before paid work starts, keep the lease while it runs, settle what it cost.

tollgate = Tollgate()  # TOLLGATE_URL and TOLLGATE_TOKEN
with tollgate.run("nightly-digest", agent="digest-1", estimated_cost_usd="0.05") as run:
    ...
    run.settle(cost_usd="0.031")
"""

from .client import Tollgate
from .errors import AlreadyEnded, InvalidRequest, Refused, StopRun, TollgateError, Unavailable
from .retrying import RetryPolicy
from .runs import Run
from .values import Admission, Caps, Decision, Extension, Money, Settlement, Usage, UsageToday

__version__ = "0.1.0"
__all__ = [
    "Admission",
    "AlreadyEnded",
    "Caps",
    "Decision",
    "Extension",
    "InvalidRequest",
    "Money",
    "Refused",
    "RetryPolicy",
    "Run",
    "Settlement",
    "StopRun",
    "Tollgate",
    "TollgateError",
    "Unavailable",
    "Usage",
    "UsageToday",
]
