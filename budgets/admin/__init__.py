"""The admin's pages of this floor: importing them registers them."""

from budgets.admin import (
    alert_rules,
    bills,
    breakers,
    change_requests,
    corrections,
    feature_controls,
    grants,
    hotspots,
    killswitches,
    limits,
    mitigations,
    reviews,
    rules,
    watching,
    work_orders,
)

__all__ = [
    "alert_rules",
    "bills",
    "breakers",
    "change_requests",
    "corrections",
    "feature_controls",
    "grants",
    "hotspots",
    "killswitches",
    "limits",
    "mitigations",
    "reviews",
    "rules",
    "watching",
    "work_orders",
]
