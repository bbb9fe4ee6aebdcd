"""The admin's pages of this floor: importing them registers them."""

from budgets.admin import (
    alert_rules,
    bills,
    change_requests,
    grants,
    guardrails,
    hotspots,
    limits,
    mitigations,
    reviews,
    rules,
    work_orders,
)

__all__ = [
    "alert_rules",
    "bills",
    "change_requests",
    "grants",
    "guardrails",
    "hotspots",
    "limits",
    "mitigations",
    "reviews",
    "rules",
    "work_orders",
]
