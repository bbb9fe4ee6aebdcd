"""One shape of usage: cache writes by lifetime, audio and image tokens, service tiers, calls of
tools that have a price, and what the sender says a call cost."""

from typing import Any

from django.db import migrations, models

# New rows are checked at once, old ones by the next migration: no scan under an exclusive lock.
CHECK_EVENTS = """
ALTER TABLE inference_events ADD CONSTRAINT inference_events_usage CHECK (
    cache_write_1h_tokens >= 0
    AND cached_input_tokens + cache_write_tokens + cache_write_1h_tokens <= input_tokens
    AND jsonb_typeof(units) = 'object' AND sender_cost_usd >= 0 AND computed_cost_usd >= 0
) NOT VALID
"""
CHECK_PRICES = """
ALTER TABLE model_prices ADD CONSTRAINT model_prices_special_not_negative CHECK (
    least(cache_write_1h_per_mtok, audio_input_per_mtok, cached_audio_input_per_mtok,
        audio_output_per_mtok, image_input_per_mtok, image_output_per_mtok) >= 0
) NOT VALID
"""
NO_PRICE = "Empty: usage with such tokens has no price."


def rate(name: str, help_text: str) -> Any:
    return models.DecimalField(
        f"{name}, $/M tokens",
        max_digits=18,
        decimal_places=9,
        null=True,
        blank=True,
        help_text=help_text,
    )


def not_negative() -> models.Q:
    condition = models.Q()
    for kind in (
        "cache_write_1h",
        "audio_input",
        "cached_audio_input",
        "audio_output",
        "image_input",
        "image_output",
    ):
        name = f"{kind}_per_mtok"
        condition &= models.Q(**{name: None}) | models.Q(**{f"{name}__gte": 0})
    return condition


def cost() -> Any:
    return models.DecimalField(max_digits=20, decimal_places=9, null=True)


class Migration(migrations.Migration):
    dependencies = [("opslog", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="CostPreference",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                (
                    "wins",
                    models.TextField(
                        "cost that counts",
                        choices=[
                            (
                                "computed",
                                "The cost computed by the price book, where it has a price",
                            ),
                            ("sender", "The sender's cost, where it is given"),
                        ],
                        db_default="computed",
                    ),
                ),
            ],
            options={
                "verbose_name": "cost preference",
                "verbose_name_plural": "cost preference",
                "db_table": "cost_preference",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(id=1, wins__in=("computed", "sender")),
                        name="cost_preference_one_row",
                    )
                ],
            },
        ),
        *(
            migrations.AddField("inferenceevent", name, field)
            for name, field in (
                ("cache_write_1h_tokens", models.BigIntegerField(db_default=0)),
                ("units", models.JSONField(db_default={}, default=dict)),
                ("service_tier", models.TextField(db_default="", help_text="Empty: standard.")),
                ("sender_cost_usd", cost()),
                ("computed_cost_usd", cost()),
            )
        ),
        migrations.RunSQL(CHECK_EVENTS),
        *(
            migrations.AddField("inferencehour", name, models.BigIntegerField(db_default=0))
            for name in ("cache_write_tokens", "cache_write_1h_tokens")
        ),
        migrations.AddField(
            "inferencehour",
            "differing",
            models.BigIntegerField(
                db_default=0,
                help_text="Calls whose sender and the price book differ by more than 5 %.",
            ),
        ),
        migrations.AlterField(
            "inferencehour",
            "unpriced",
            models.BigIntegerField(help_text="Calls whose cost is unknown."),
        ),
        migrations.AlterField(
            "modelprice", "cached_input_per_mtok", rate("cached input", "Empty: as input.")
        ),
        migrations.AlterField(
            "modelprice",
            "cache_write_per_mtok",
            rate("cache write (5 minutes)", "Empty: as input."),
        ),
        *(
            migrations.AddField("modelprice", name, field)
            for name, field in (
                ("cache_write_1h_per_mtok", rate("cache write (1 hour)", NO_PRICE)),
                ("audio_input_per_mtok", rate("audio input", NO_PRICE)),
                (
                    "cached_audio_input_per_mtok",
                    rate("cached audio input", "Empty: as audio input."),
                ),
                ("audio_output_per_mtok", rate("audio output", NO_PRICE)),
                ("image_input_per_mtok", rate("image input", NO_PRICE)),
                ("image_output_per_mtok", rate("image output", NO_PRICE)),
                (
                    "service_tiers",
                    models.JSONField(
                        blank=True,
                        db_default={},
                        default=dict,
                        help_text="What batch, flex and priority cost: a factor on all tokens, or "
                        'prices. {"batch": {"factor": "0.5"}, "priority": {"input_per_mtok": "5", '
                        '"output_per_mtok": "20"}}. Usage of a tier that is not listed has no '
                        "price.",
                    ),
                ),
                (
                    "tool_prices",
                    models.JSONField(
                        blank=True,
                        db_default={},
                        default=dict,
                        help_text='US dollars per call of a tool: {"web_search": "0.01"}. Usage '
                        "with calls of a tool that is not listed has no price.",
                    ),
                ),
            )
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(CHECK_PRICES)],
            state_operations=[
                migrations.AddConstraint(
                    "modelprice",
                    models.CheckConstraint(
                        condition=not_negative(), name="model_prices_special_not_negative"
                    ),
                ),
            ],
        ),
    ]
