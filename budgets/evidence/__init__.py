"""Evidence: what an approver must know to decide on a cap change. See `selector` and `report`."""

from budgets.evidence.report import Evidence
from budgets.evidence.selector import evidence_for

__all__ = ["Evidence", "evidence_for"]
