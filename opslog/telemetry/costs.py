"""Two costs of one call: what its sender says and what the price book computes.

Which of them counts is a row (`CostPreference`); the database decides when a call is written
(`tollgate.accept_inference_v1`). A change holds for calls from then on.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import BooleanField, F, Func, Sum

from opslog.events import record
from opslog.models import CostPreference, InferenceHour

MOST_MODELS: Final = 20

# More than 5 % of the larger one apart: the rule stands in the database.
DIFFER = Func(
    F("sender_cost_usd"),
    F("computed_cost_usd"),
    function="tollgate.costs_differ",
    output_field=BooleanField(),
)


@dataclass(frozen=True, slots=True)
class Differing:
    """A model, its calls, and those of them whose two costs differ by more than 5 %."""

    model: str
    calls: int
    differing: int


def prefer(wins: str, *, by: str, reason: str) -> CostPreference:
    """Let the other cost count, with its event. Raises ValueError without a reason, and for a value
    that is none of `CostPreference.Wins`."""
    if wins not in CostPreference.Wins.values:
        raise ValueError(f"{wins!r} is no preference")
    if not reason.strip():
        raise ValueError("A change needs a reason.")
    with transaction.atomic():
        preference = CostPreference.objects.select_for_update().get()
        if (before := preference.wins) != wins:
            preference.wins = wins
            preference.save()
            record(
                "COST_PREFERENCE_CHANGE",
                message=f"Cost that counts: {preference}",
                owner=("cost_preference", str(preference.pk)),
                actor=by,
                meta={
                    "reason": reason.strip(),
                    "changes": {"wins": {"old": before, "new": wins}},
                },
            )
    return preference


def differing(since: datetime) -> list[Differing]:
    """The models with calls whose two costs differ, of the hours from `since` on."""
    rows = (
        InferenceHour.objects.filter(hour__gte=since)
        .values_list("model")
        .annotate(calls=Sum("requests"), apart=Sum("differing"))
        .filter(apart__gt=0)
        .order_by("-apart", "model")[:MOST_MODELS]
    )
    return [Differing(*row) for row in rows]
