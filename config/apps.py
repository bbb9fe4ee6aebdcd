"""The admin site, put together, and what has to be in the database after a migration."""

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.apps import AdminConfig
from django.db.models.signals import post_migrate

from config import sentry
from config.schedules import ensure_schedules

NO_PAGES = ("django_q", "account", "mfa", "socialaccount", "usersessions")


class TollgateAdminConfig(AdminConfig):
    default_site = "config.sign_in.site.TollgateAdminSite"

    def ready(self) -> None:
        super().ready()
        from config import checks  # noqa: F401  (checks register on import)
        from config.pages import people
        from config.sign_in import records

        people.register(admin.site)
        records.listen()
        watch_logins()
        sentry.begin()
        apps.get_app_config("auth").verbose_name = "People"
        # The tables of the job queue and of signing in are no page of this product.
        for model in tuple(admin.site._registry):
            if model._meta.app_label in NO_PAGES:
                admin.site.unregister(model)
        post_migrate.connect(
            ensure_schedules,
            sender=apps.get_app_config("django_q"),
            dispatch_uid="config.schedules",
        )


def watch_logins() -> None:
    """Django signals log-ins; `budgets.accounts` records them (lock-outs: the adapter)."""
    from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed

    from budgets.accounts import signing_in

    for signal, receiver in (
        (user_logged_in, signing_in.logged_in),
        (user_logged_out, signing_in.logged_out),
        (user_login_failed, signing_in.failed),
    ):
        signal.connect(receiver, dispatch_uid=f"accounts.{receiver.__name__}")
