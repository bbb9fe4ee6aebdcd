from django.db import migrations


class Migration(migrations.Migration):
    """Who edits a request is its requester: what was edited has a revision beyond the first."""

    dependencies = [("budgets", "0011_governed_hours")]

    operations = [migrations.RemoveField("changerequest", "last_editor")]
