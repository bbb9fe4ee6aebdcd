from django.apps import AppConfig

from opslog.roles import append_only


class BudgetsConfig(AppConfig):
    name = "budgets"
    verbose_name = "What may be spent"

    def ready(self) -> None:
        from budgets import checks  # noqa: F401  (checks register on import)

        append_only("cap_changes", "change_votes")
