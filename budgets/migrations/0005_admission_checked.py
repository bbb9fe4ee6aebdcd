from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("budgets", "0004_admission")]

    operations = [
        ValidateConstraint("circuitbreaker", "circuit_breakers_probe_seconds"),
        ValidateConstraint("costrule", "cost_rules_floor"),
    ]
