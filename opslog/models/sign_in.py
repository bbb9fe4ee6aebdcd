"""How often somebody has tried to sign in lately."""

from django.db import models
from django.db.models.functions import Now


class SignInTries(models.Model):
    """One counter of tries: of an address, a name, a device, or a used one-time code.

    Names are kept as a keyed digest: people type passwords into the wrong field.
    """

    key = models.TextField(primary_key=True)
    tries = models.IntegerField(db_default=1)
    not_before = models.DateTimeField(db_default=Now(), help_text="No try counts before this.")
    expires_at = models.DateTimeField(help_text="The row means nothing from then on.")

    class Meta:
        db_table = "sign_in_tries"
        verbose_name = "tries to sign in"
        indexes = (models.Index(fields=("expires_at",), name="sign_in_tries_expiry"),)
        constraints = (
            models.CheckConstraint(condition=models.Q(tries__gte=0), name="sign_in_tries_counted"),
        )

    def __str__(self) -> str:
        return f"{self.key}: {self.tries}"
