"""Evidence: what an approver must know to decide on a cap change. See `selector` and `report`."""

from budgets.evidence.limits import limit_evidence, refusals_by_request
from budgets.evidence.report import CapEvidence
from budgets.evidence.selector import evidence_of, snapshot

__all__ = [
    "CapEvidence",
    "evidence_of",
    "limit_evidence",
    "refusals_by_request",
    "report",
    "risk",
    "snapshot",
]
