"""Validates what 0002 added without a scan under a lock."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("budgets", "0002_sources")]

    operations = [ValidateConstraint("grant", "cap_grants_reviewer")]
