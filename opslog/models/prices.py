"""What models cost, from when on."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Now

from opslog.pricing.price import RATES, RULES, STRUCTURED


def _rate(name: str, help_text: str = "") -> Any:
    return models.DecimalField(
        f"{name}, $/M tokens",
        max_digits=18,
        decimal_places=9,
        null=True,
        blank=True,
        help_text=help_text,
    )


def _not_negative(*kinds: str) -> models.Q:
    condition = models.Q()
    for kind in kinds:
        condition &= models.Q(**{kind: None}) | models.Q(**{f"{kind}__gte": 0})
    return condition


# What every list has, and what few models have.
PLAIN = ("cached_input_per_mtok", "cache_write_per_mtok", "reasoning_per_mtok")
SPECIAL = tuple(kind for kind in RATES if kind not in (*RATES[:2], *PLAIN))
UNPRICED_IF_EMPTY = "Empty: usage with such tokens has no price."


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
    cached_input_per_mtok = _rate("cached input", "Empty: as input.")
    cache_write_per_mtok = _rate("cache write (5 minutes)", "Empty: as input.")
    cache_write_1h_per_mtok = _rate("cache write (1 hour)", UNPRICED_IF_EMPTY)
    reasoning_per_mtok = _rate("reasoning output", "Empty: as output.")
    audio_input_per_mtok = _rate("audio input", UNPRICED_IF_EMPTY)
    cached_audio_input_per_mtok = _rate("cached audio input", "Empty: as audio input.")
    audio_output_per_mtok = _rate("audio output", UNPRICED_IF_EMPTY)
    image_input_per_mtok = _rate("image input", UNPRICED_IF_EMPTY)
    image_output_per_mtok = _rate("image output", UNPRICED_IF_EMPTY)
    tiers = models.JSONField(
        default=list,
        blank=True,
        help_text="Prices from a number of input tokens on: "
        '[{"above_input_tokens": 200000, "input_per_mtok": "6", "output_per_mtok": "22.5"}]',
    )
    service_tiers = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        help_text="What batch, flex and priority cost: a factor on all tokens, or prices. "
        '{"batch": {"factor": "0.5"}, "priority": {"input_per_mtok": "5", "output_per_mtok": "20"}}'
        ". Usage of a tier that is not listed has no price.",
    )
    tool_prices = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        help_text='US dollars per call of a tool: {"web_search": "0.01"}. '
        "Usage with calls of a tool that is not listed has no price.",
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
                & _not_negative(*PLAIN),
                name="model_prices_not_negative",
            ),
            models.CheckConstraint(
                condition=_not_negative(*SPECIAL), name="model_prices_special_not_negative"
            ),
        )

    def __str__(self) -> str:
        return f"{self.model} from {self.effective_from:%Y-%m-%d}"

    def clean(self) -> None:
        """Refuse in a form what the price book could not read (see `prices.load_book`)."""
        errors: dict[str, str] = {}
        for column, check in {**STRUCTURED, **RULES}.items():
            value = getattr(self, column)
            if value is None and column in STRUCTURED:  # emptied in a form
                setattr(self, column, [] if column == "tiers" else {})
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
