"""Which daily reports were sent."""

from django.db import models
from django.db.models.functions import Now


class DailyReport(models.Model):
    """The report of a UTC day was sent, once, with these figures. Written in the transaction of its
    messages: whoever inserts the row is who sends. The page shows the figures as they are now: a
    run of that day may settle later."""

    day = models.DateField(primary_key=True)
    told_at = models.DateTimeField(db_default=Now(), editable=False)
    work_orders = models.IntegerField()
    blocked = models.IntegerField()
    near = models.IntegerField()
    idle = models.IntegerField()
    runs = models.BigIntegerField()
    usd = models.DecimalField(max_digits=20, decimal_places=9)

    class Meta:
        db_table = "daily_reports"
        ordering = ("-day",)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(
                    work_orders__gte=0, blocked__gte=0, near__gte=0, idle__gte=0, runs__gte=0
                ),
                name="daily_reports_not_negative",
            ),
        )

    def __str__(self) -> str:
        return f"{self.day:%Y-%m-%d}"
