from django.apps import AppConfig

from opslog import authority
from opslog.roles import append_only

LAST_LOCK = "SELECT tollgate.hold_counters()"


class BudgetsConfig(AppConfig):
    name = "budgets"
    verbose_name = "What may be spent"
    routines = (
        "foundations.sql",
        "guardrails.sql",
        "names.sql",
        "alerts.sql",
        "breaker.sql",
        "settlement.sql",
        "admission.sql",
        "extension.sql",
        "spending.sql",
        "corrections.sql",
        "recording.sql",
        "reviews.sql",
    )

    def ready(self) -> None:
        from budgets import checks  # noqa: F401  (checks register on import)

        authority.probe_with(LAST_LOCK)
        append_only("cap_changes", "change_votes", "review_decisions", "review_signatures")
