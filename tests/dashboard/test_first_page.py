"""The first page and the page of the burn rate: what they say of limits, ranges and stops."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from budgets import burn_rate
from budgets.models import Counter
from tests import factories


def commit_a_minute(usd: str) -> None:
    """So many dollars in the last seconds, as everything together has them."""
    now = timezone.now()
    for window, slot in (("rolling_minute", 5), ("rolling_hour", 60)):
        starts = now - timedelta(seconds=now.timestamp() % slot)
        Counter.objects.create(
            key=f"{window}:{int(starts.timestamp())}:global:",
            scope="global",
            subject="",
            window=window,
            starts_at=starts,
            settled_usd=Decimal(usd),
        )


@pytest.mark.django_db
def test_a_pace_below_the_rolling_hour_never_reaches_it() -> None:
    factories.set_limit("global", "rolling_hour", "usd", 10)
    commit_a_minute("0.0237")
    (reach,) = (each for each in burn_rate.now().limits if each.budget.window == "rolling_hour")
    assert (reach.used_usd, reach.seconds) == (Decimal("0.0237"), None)
