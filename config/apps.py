"""The admin site, put together, and what has to be in the database after a migration."""

from django.apps import apps
from django.contrib.admin.apps import AdminConfig
from django.db.models.signals import post_migrate

from config.schedules import ensure_schedules


class TollgateAdminConfig(AdminConfig):
    default_site = "unfold.sites.UnfoldAdminSite"

    def ready(self) -> None:
        super().ready()
        post_migrate.connect(
            ensure_schedules,
            sender=apps.get_app_config("django_q"),
            dispatch_uid="config.schedules",
        )
