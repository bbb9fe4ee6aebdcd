"""Validates what 0002 added without a scan under a lock; and the first values of three limits."""

from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


def first_values(apps: Any, schema_editor: Any) -> None:
    """From the settings, as those of the day. An installation in use keeps its rows."""
    using = schema_editor.connection.alias
    for label, model in (("auth", "User"), ("workorders", "WorkOrder")):
        if apps.get_model(label, model).objects.using(using).exists():
            return
    Budget = apps.get_model("budgets", "Budget").objects.using(using)
    for window, measure, told in (
        ("open", "runs", settings.TOLLGATE_CONCURRENT_RUNS),
        ("rolling_hour", "usd", settings.TOLLGATE_HOUR_LIMIT_USD),
        ("rolling_minute", "usd", settings.TOLLGATE_MINUTE_LIMIT_USD),
    ):
        limit, amount = Budget.get(scope="global", window=window, measure=measure), Decimal(told)
        if limit.warning_amount is not None:
            limit.warning_amount = min(limit.warning_amount, amount)
        limit.amount = amount
        limit.save(update_fields=["amount", "warning_amount"])


class Migration(migrations.Migration):
    dependencies = [("budgets", "0006_solo_operator")]

    operations = [
        ValidateConstraint("grant", "cap_grants_reviewer"),
        migrations.RunPython(first_values, migrations.RunPython.noop, elidable=False),
    ]
