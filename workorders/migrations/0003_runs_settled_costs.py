"""The statistics of a work order look at the note of a cost, too, and read the index alone."""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("workorders", "0002_caps_by_trigger")]

    operations = [
        AddIndexConcurrently(
            "run",
            models.Index(
                fields=["wo", "-finished_at"],
                include=("cost", "tokens", "status", "cost_note"),
                condition=models.Q(status__in=["success", "error"]),
                name="runs_settled_costs",
            ),
        ),
        RemoveIndexConcurrently("run", "runs_settled"),
    ]
