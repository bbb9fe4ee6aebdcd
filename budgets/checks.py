"""System checks of what governs approvals."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register
from django.db import connections

from budgets.approvals import solo_operator

RULES = "SELECT to_regclass('solo_operator_rules')"


@register("database")
def four_eyes_in_production(databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """One person who signs alone is an exception that production should know of."""
    if settings.TOLLGATE_ENVIRONMENT != "production" or not databases or "default" not in databases:
        return []
    with connections["default"].cursor() as cursor:
        cursor.execute(RULES)
        if cursor.fetchone() == (None,):  # before the first migration
            return []
    standing = solo_operator.standing()
    if standing is None:
        return []
    return [
        Warning(
            "One person may approve and review what they requested themselves.",
            hint=f"Can sign: {', '.join(standing.signers) or 'nobody'}. Add a second person, then: "
            'manage.py solo_operator off --reason "…" (docs/approvals.md).',
            id="budgets.W001",
        )
    ]
