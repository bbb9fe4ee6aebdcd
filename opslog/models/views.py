"""Views of the event history that people keep."""

from django.db import models
from django.db.models.functions import Length, Now
from django.db.models.lookups import LessThanOrEqual


class SavedView(models.Model):
    """The filters of a view of the event history, under a name: one person's, or shown to all.

    Only a convenience: the same view is in its address, which anybody may keep or send. The person
    is named by id and label, as an event names its actor.
    """

    person = models.TextField(help_text="The id of a user.")
    person_label = models.TextField("kept by", db_default="")
    name = models.TextField()
    query = models.TextField(db_default="", help_text="The filters, as in the address.")
    shared = models.BooleanField(db_default=False, help_text="Shown to everybody.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "saved_views"
        verbose_name = "saved view"
        ordering = ("name", "id")
        constraints = (
            models.UniqueConstraint(fields=("person", "name"), name="saved_views_once"),
            models.CheckConstraint(
                condition=models.Q(name__regex=r"^\S(.{0,78}\S)?$") & ~models.Q(person=""),
                name="saved_views_named",
            ),
            models.CheckConstraint(
                condition=models.Q(query__regex=r"^[A-Za-z0-9_.~*=&%+-]*$")
                & models.Q(LessThanOrEqual(Length("query"), 4000)),
                name="saved_views_query_is_encoded",
            ),
        )

    def __str__(self) -> str:
        return self.name
