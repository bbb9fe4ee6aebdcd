"""Ask a Tollgate before paid work starts, keep the lease while it runs, settle what it cost.

tollgate = Tollgate()  # TOLLGATE_URL, TOLLGATE_TOKEN and TOLLGATE_AGENT
client = tollgate.meter(OpenAI())
with tollgate.run("nightly-digest"):
    ...
"""

from .async_client import AsyncTollgate
from .async_runs import AsyncRun
from .base import RunOptions
from .client import Tollgate
from .context import current_run, require_run
from .errors import (
    AlreadyEnded,
    InvalidRequest,
    NoRun,
    Refused,
    StopRun,
    TollgateError,
    Unavailable,
)
from .ledger import Call, Spent
from .retrying import RetryPolicy
from .runs import Run
from .usage import usage_of
from .values import Admission, Caps, Decision, Extension, Money, Settlement, Usage, UsageToday

__version__ = "0.2.0"
__all__ = [
    "Admission",
    "AlreadyEnded",
    "AsyncRun",
    "AsyncTollgate",
    "Call",
    "Caps",
    "Decision",
    "Extension",
    "InvalidRequest",
    "Money",
    "NoRun",
    "Refused",
    "RetryPolicy",
    "Run",
    "RunOptions",
    "Settlement",
    "Spent",
    "StopRun",
    "Tollgate",
    "TollgateError",
    "Unavailable",
    "Usage",
    "UsageToday",
    "current_run",
    "require_run",
    "usage_of",
]
