"""Policy: limits, the counters they are held against, and the requests that change them."""

from budgets.models.alerts import Alert, Deployment, PreflightRule
from budgets.models.approvals import (
    ApprovalRule,
    ApprovalSlot,
    CapChange,
    ChangeLine,
    ChangeRequest,
    Grant,
    Measure,
    Vote,
)
from budgets.models.counters import (
    CostStatistic,
    Counter,
    DirectSpend,
    IdempotencyRecord,
    RunCharge,
)
from budgets.models.features import FeatureControl
from budgets.models.limits import EACH, Budget, CircuitBreaker, KillSwitch
from budgets.models.reports import DailyReport

__all__ = [
    "EACH",
    "Alert",
    "ApprovalRule",
    "ApprovalSlot",
    "Budget",
    "CapChange",
    "ChangeLine",
    "ChangeRequest",
    "CircuitBreaker",
    "CostStatistic",
    "Counter",
    "DailyReport",
    "Deployment",
    "DirectSpend",
    "FeatureControl",
    "Grant",
    "IdempotencyRecord",
    "KillSwitch",
    "Measure",
    "PreflightRule",
    "RunCharge",
    "Vote",
]
