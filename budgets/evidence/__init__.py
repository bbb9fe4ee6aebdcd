"""Evidence: what an approver must know to decide on a cap change. See `selector` and `report`."""

from budgets.evidence.limits import LimitEvidence, limit_evidence, refusals_by_request
from budgets.evidence.report import Evidence
from budgets.evidence.selector import evidence_for

__all__ = ["Evidence", "LimitEvidence", "evidence_for", "limit_evidence", "refusals_by_request"]
