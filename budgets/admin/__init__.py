"""The admin's pages of this floor: importing them registers them."""

from budgets.admin import (
    account_changes,
    alert_rules,
    bills,
    breakers,
    change_requests,
    feature_controls,
    grants,
    hotspots,
    killswitches,
    limits,
    mitigations,
    own_limits,
    reviews,
    rules,
    watching,
    work_orders,
)

__all__ = [
    "account_changes",
    "alert_rules",
    "bills",
    "breakers",
    "change_requests",
    "feature_controls",
    "grants",
    "hotspots",
    "killswitches",
    "limits",
    "mitigations",
    "own_limits",
    "reviews",
    "rules",
    "watching",
    "work_orders",
]
