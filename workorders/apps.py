from django.apps import AppConfig

from opslog.database.roles import changed_by_routines, kept


class WorkordersConfig(AppConfig):
    name = "workorders"
    verbose_name = "What is being done"
    routines = ("tokens.sql", "status.sql", "caps.sql", "recording.sql", "names.sql")

    def ready(self) -> None:
        changed_by_routines("work_order_runs")
        kept("work_orders", "service_tokens", "agents")
