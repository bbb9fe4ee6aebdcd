"""System checks of the log."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Info, register


@register("database")
def two_roles(databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """With one role only, the owner of the log can rewrite it: say so."""
    app, owner = settings.DATABASES["default"], settings.DATABASES["owner"]
    if databases and app.get("USER") == owner.get("USER"):
        return [
            Info(
                "The application connects as the owner of the tables.",
                hint="The event log is then protected against mistakes, not against the owner's "
                "intent. Set TOLLGATE_OWNER_DATABASE_URL to a role of its own.",
                id="opslog.I001",
            )
        ]
    return []
