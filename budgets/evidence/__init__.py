"""Evidence: what an approver must know to decide on a cap change. See `selector` and `report`."""

from budgets.evidence.limits import LimitEvidence, limit_evidence, refusals_by_request
from budgets.evidence.report import CapEvidence
from budgets.evidence.selector import evidence_for, evidence_of, snapshot

__all__ = [
    "CapEvidence",
    "LimitEvidence",
    "evidence_for",
    "evidence_of",
    "limit_evidence",
    "refusals_by_request",
    "snapshot",
]
