"""The admin's pages of this floor: importing them registers them."""

from budgets.admin import (
    alert_rules,
    change_requests,
    grants,
    guardrails,
    limits,
    mitigations,
    rules,
    work_orders,
)

__all__ = [
    "alert_rules",
    "change_requests",
    "grants",
    "guardrails",
    "limits",
    "mitigations",
    "rules",
    "work_orders",
]
