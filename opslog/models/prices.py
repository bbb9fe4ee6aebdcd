"""What models cost, from when on."""

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Now

from opslog.model_names import check_match
from opslog.pricing import long_context


class ModelPrice(models.Model):
    """What a model costs from a moment on, in US dollars per million tokens.

    The row in force for a model at a time is the one with the latest `effective_from` not after
    it; among those of the same time an own price (`source = own`) wins over the imported one. An
    own price in force hides every imported price of that model, however much newer.
    """

    class Source(models.TextChoices):
        OWN = "own", "own price"
        IMPORTED = "genai-prices", "genai-prices"

    class Tier(models.TextChoices):
        SMALL = "small", "small"
        MIDDLE = "middle", "middle"
        LARGEST = "largest", "largest"

    model = models.TextField(help_text="The name that programs send.")
    provider = models.TextField(blank=True, db_default="")
    source = models.TextField(choices=Source, default=Source.OWN)
    effective_from = models.DateTimeField()
    input_per_mtok = models.DecimalField("input, $/M tokens", max_digits=18, decimal_places=9)
    output_per_mtok = models.DecimalField("output, $/M tokens", max_digits=18, decimal_places=9)
    cached_input_per_mtok = models.DecimalField(
        "cached input, $/M tokens", max_digits=18, decimal_places=9, null=True, blank=True
    )
    cache_write_per_mtok = models.DecimalField(
        "cache write, $/M tokens",
        max_digits=18,
        decimal_places=9,
        null=True,
        blank=True,
        help_text="Empty: as input.",
    )
    reasoning_per_mtok = models.DecimalField(
        "reasoning output, $/M tokens",
        max_digits=18,
        decimal_places=9,
        null=True,
        blank=True,
        help_text="Empty: as output.",
    )
    tiers = models.JSONField(
        default=list,
        blank=True,
        help_text="Prices from a number of input tokens on: "
        '[{"above_input_tokens": 200000, "input_per_mtok": "6", "output_per_mtok": "22.5"}]',
    )
    match = models.JSONField(
        null=True,
        blank=True,
        help_text='Which other names mean this model: {"starts_with": "gpt-4o"}, '
        '{"or": [...]}, {"equals": ...}. Empty: the exact name only.',
    )
    provider_match = models.JSONField(
        null=True,
        blank=True,
        help_text="Imported prices only: which bare names belong to this provider.",
    )
    tier = models.TextField(choices=Tier, default=Tier.MIDDLE)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "model_prices"
        verbose_name = "model price"
        ordering = ("model", "-effective_from")
        constraints = (
            models.UniqueConstraint(
                fields=("provider", "model", "source", "effective_from"), name="model_prices_once"
            ),
            models.CheckConstraint(
                condition=models.Q(input_per_mtok__gte=0, output_per_mtok__gte=0)
                & (models.Q(cached_input_per_mtok=None) | models.Q(cached_input_per_mtok__gte=0))
                & (models.Q(cache_write_per_mtok=None) | models.Q(cache_write_per_mtok__gte=0))
                & (models.Q(reasoning_per_mtok=None) | models.Q(reasoning_per_mtok__gte=0)),
                name="model_prices_not_negative",
            ),
        )

    def __str__(self) -> str:
        return f"{self.model} from {self.effective_from:%Y-%m-%d}"

    def clean(self) -> None:
        """Refuse in a form what the price book could not read (see `opslog.prices.load_book`)."""
        errors: dict[str, str] = {}
        for column, check in (
            ("tiers", long_context),
            ("match", check_match),
            ("provider_match", check_match),
        ):
            value = getattr(self, column)
            try:
                if value is not None:
                    check(value)
            except ValueError as error:
                errors[column] = str(error)
        if errors:
            raise ValidationError(errors)


class PriceBookVersion(models.Model):
    """One row, counted up by a trigger whenever a price changes.

    Processes keep the price book in memory; an admission compares this number in its one round
    trip, so that a price that changed a moment ago is never missed.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    version = models.BigIntegerField(default=1)

    class Meta:
        db_table = "price_book_version"
        constraints = (
            models.CheckConstraint(condition=models.Q(id=1), name="price_book_version_one_row"),
        )

    def __str__(self) -> str:
        return str(self.version)
