from django.apps import AppConfig

from opslog import authority
from opslog.roles import append_only

LAST_LOCK = "SELECT tollgate_hold_counters()"


class BudgetsConfig(AppConfig):
    name = "budgets"
    verbose_name = "What may be spent"

    def ready(self) -> None:
        from budgets import checks  # noqa: F401  (checks register on import)
        from budgets.accounts import links
        from opslog import delivery

        delivery.SECRET_LINKS[links.TOPIC] = links.path_for
        authority.probe_with(LAST_LOCK)
        append_only(
            "account_rules",
            "cap_changes",
            "change_votes",
            "former_names",
            "review_decisions",
            "review_signatures",
        )
