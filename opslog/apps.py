from django.apps import AppConfig
from django.db.models.signals import post_migrate


class OpslogConfig(AppConfig):
    name = "opslog"
    verbose_name = "What happened"

    def ready(self) -> None:
        from opslog import checks, roles  # noqa: F401  (checks register on import)

        post_migrate.connect(roles.grant_after_migrate, sender=self, dispatch_uid="opslog.roles")
