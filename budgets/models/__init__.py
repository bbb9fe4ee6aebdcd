"""Policy: limits, the counters they are held against, and the requests that change them."""

from budgets.models.accounts import (
    AccountChange,
    AccountLink,
    AccountRule,
    FailedLogins,
    FormerName,
    Membership,
    SoloOperatorRule,
)
from budgets.models.alerts import Alert, AlertRule, Deployment, PreflightRule
from budgets.models.approvals import (
    ApprovalLimit,
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
    GovernedHour,
    IdempotencyRecord,
    RefusalGroup,
    RefusalTally,
    RefusedAsk,
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
    "AccountChange",
    "AccountLink",
    "AccountRule",
    "Alert",
    "AlertRule",
    "ApprovalLimit",
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
    "FailedLogins",
    "FeatureControl",
    "FormerName",
    "GovernedHour",
    "Grant",
    "Hotspot",
    "IdempotencyRecord",
    "KillSwitch",
    "Measure",
    "Membership",
    "MonthlyReview",
    "PreflightRule",
    "RefusalGroup",
    "RefusalTally",
    "RefusedAsk",
    "ReviewCheck",
    "ReviewDecision",
    "ReviewSignature",
    "RunCharge",
    "ServiceMapping",
    "SoloOperatorRule",
    "TimedMitigation",
    "Vote",
]
