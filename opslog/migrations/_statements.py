"""Statements of migrations in words of our own."""

from django.db import migrations
from django.db.migrations.operations.base import Operation


def of_statement(sql: str, *state: Operation) -> migrations.SeparateDatabaseAndState:
    """Run `sql` for the operations of `state`, so that it can say why a rule of the linter does not
    apply to it."""
    return migrations.SeparateDatabaseAndState(
        database_operations=[migrations.RunSQL(sql)], state_operations=list(state)
    )
