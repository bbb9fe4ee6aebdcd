from django.apps import AppConfig

from opslog.database.roles import changed_by_routines, kept

SUBJECTS = {
    "agent": "workorders.agent",
    "run": "workorders.run",
    "service_token": "workorders.servicetoken",
    "token_policy": "workorders.tokenpolicy",
    "work_order": "workorders.workorder",
}


class WorkordersConfig(AppConfig):
    name = "workorders"
    verbose_name = "What is being done"
    routines = ("tokens.sql", "status.sql", "caps.sql", "recording.sql", "names.sql")

    def ready(self) -> None:
        from opslog.events import registry
        from opslog.pages import subjects
        from workorders import event_kinds

        registry.register(*event_kinds.KINDS)
        subjects.register(SUBJECTS)
        changed_by_routines("work_order_runs")
        kept("work_orders", "service_tokens", "agents")
