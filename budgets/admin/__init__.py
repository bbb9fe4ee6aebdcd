"""The admin's pages of this floor."""

from budgets.admin import (  # noqa: F401  (they register themselves)
    account_changes,
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
    own_limits,
    reviews,
    rules,
    watching,
    work_orders,
)

__all__ = ["burn_rate_page", "burners", "daily_report_page", "forms", "limits", "mitigation_page"]
