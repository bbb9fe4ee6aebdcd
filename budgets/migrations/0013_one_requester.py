from django.db import migrations


class Migration(migrations.Migration):
    """Who edits a request is its requester: what was edited has a revision beyond the first."""

    dependencies = [("budgets", "0012_no_latency_samples")]

    operations = [migrations.RemoveField("changerequest", "last_editor")]
