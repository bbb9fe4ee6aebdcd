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
from budgets.models.bills import BilledCost, BillImport, DimensionBudget, ServiceMapping
from budgets.models.corrections import CostCorrection, CostRule
from budgets.models.counters import (
    CostStatistic,
    Counter,
    DirectSpend,
    IdempotencyRecord,
    RunCharge,
)
from budgets.models.features import FeatureControl
from budgets.models.hotspots import Contact, Hotspot
from budgets.models.limits import EACH, Budget, CircuitBreaker, KillSwitch
from budgets.models.mitigations import AutomaticMitigation, TimedMitigation
from budgets.models.reports import DailyReport
from budgets.models.reviews import (
    MonthlyReview,
    ReviewCheck,
    ReviewDecision,
    ReviewSignature,
)

__all__ = [
    "EACH",
    "Alert",
    "AlertRule",
    "ApprovalRule",
    "ApprovalSlot",
    "AutomaticMitigation",
    "BillImport",
    "BilledCost",
    "Budget",
    "CapChange",
    "ChangeLine",
    "ChangeRequest",
    "CircuitBreaker",
    "Contact",
    "CostCorrection",
    "CostRule",
    "CostStatistic",
    "Counter",
    "DailyReport",
    "Deployment",
    "DimensionBudget",
    "DirectSpend",
    "FeatureControl",
    "Grant",
    "Hotspot",
    "IdempotencyRecord",
    "KillSwitch",
    "LatencySample",
    "Measure",
    "MonthlyReview",
    "PreflightRule",
    "ReviewCheck",
    "ReviewDecision",
    "ReviewSignature",
    "RunCharge",
    "ServiceMapping",
    "TimedMitigation",
    "Vote",
]
