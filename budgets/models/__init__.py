"""Policy: limits, the counters they are held against, and the requests that change them."""

from budgets.models.alerts import Alert, AlertRule, Deployment, LatencySample, PreflightRule
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
from budgets.models.mitigations import AutomaticMitigation, TimedMitigation

__all__ = [
    "EACH",
    "Alert",
    "AlertRule",
    "ApprovalRule",
    "ApprovalSlot",
    "AutomaticMitigation",
    "Budget",
    "CapChange",
    "ChangeLine",
    "ChangeRequest",
    "CircuitBreaker",
    "CostStatistic",
    "Counter",
    "Deployment",
    "DirectSpend",
    "FeatureControl",
    "Grant",
    "IdempotencyRecord",
    "KillSwitch",
    "LatencySample",
    "Measure",
    "PreflightRule",
    "RunCharge",
    "TimedMitigation",
    "Vote",
]
