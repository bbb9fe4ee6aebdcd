"""The admin's pages of this floor: importing them registers them."""

from budgets.admin import (
    breakers,
    change_requests,
    feature_controls,
    grants,
    killswitches,
    limits,
    rules,
    watching,
    work_orders,
)

__all__ = [
    "breakers",
    "change_requests",
    "feature_controls",
    "grants",
    "killswitches",
    "limits",
    "rules",
    "watching",
    "work_orders",
]
