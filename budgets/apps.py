from django.apps import AppConfig

from opslog import authority
from opslog.roles import append_only

LAST_LOCK = """
SELECT FROM counters WHERE key = tollgate_counter_key('global', '', 'open', 'epoch') FOR UPDATE
"""


class BudgetsConfig(AppConfig):
    name = "budgets"
    verbose_name = "What may be spent"

    def ready(self) -> None:
        from budgets import checks  # noqa: F401  (checks register on import)

        authority.probe_with(LAST_LOCK)
        append_only("cap_changes", "change_votes")
