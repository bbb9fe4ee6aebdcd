"""Rows that are always there."""

from django.db import migrations

POLICY = "INSERT INTO token_policy (id) VALUES (1);"

OPERATIONS = [migrations.RunSQL(POLICY)]
