from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


def after_migrate(*, using: str, **kwargs: Any) -> None:
    """The routines, the partitions of the next months, and what the application's role may do."""
    from opslog.database import roles, routines

    if routines.tables_are_there(using):
        routines.install(using)
        routines.make_partitions(using)
        roles.grant(using)
        roles.hold_session_settings(using)


SUBJECTS = {
    "change": "opslog.changemarker",
    "cost_preference": "opslog.costpreference",
    "incident": "opslog.incident",
    "message": "opslog.outboxmessage",
    "message_policy": "opslog.messagepolicy",
    "model_price": "opslog.modelprice",
    "user": "auth.user",
}


class OpslogConfig(AppConfig):
    name = "opslog"
    verbose_name = "What happened"
    routines = (
        "identities.sql",
        "events.sql",
        "recording.sql",
        "queue.sql",
        "telemetry.sql",
        "telemetry_ingest.sql",
        "telemetry_rollup.sql",
        "incidents.sql",
        "seals.sql",
    )

    def ready(self) -> None:
        from opslog import checks, event_kinds  # noqa: F401  (checks register on import)
        from opslog.events import registry
        from opslog.pages import form_text, subjects

        registry.register(*event_kinds.KINDS)
        subjects.register(SUBJECTS)
        form_text.hold()
        post_migrate.connect(after_migrate, sender=self, dispatch_uid="opslog.database.routines")
