"""What the job drops once nothing reads it, and not before."""

from datetime import timedelta

import pytest
from django.utils import timezone

from budgets import tasks
from budgets.models import Counter, IdempotencyRecord

pytestmark = pytest.mark.django_db

YEARS = 2 * 366 * 24 * 60


@pytest.mark.parametrize(
    ("window", "minutes", "dropped"),
    [
        ("minute", 59, 0),
        ("minute", 61, 1),
        ("rolling_minute", 59, 0),
        ("rolling_minute", 61, 1),
        ("hour", 24 * 60 - 1, 0),
        ("hour", 24 * 60 + 1, 1),
        ("rolling_hour", 24 * 60 - 1, 0),
        ("rolling_hour", 24 * 60 + 1, 1),
        ("day", YEARS, 0),
        ("month", YEARS, 0),
    ],
)
def test_counters_of_windows_long_past(window: str, minutes: int, dropped: int) -> None:
    begins = timezone.now() - timedelta(minutes=minutes)
    Counter.objects.create(
        key=f"{window}:test", scope="global", subject="", window=window, starts_at=begins,
        runs=1, settled_usd=1, reserved_usd=0,
    )  # fmt: skip
    before = Counter.objects.count()
    assert tasks.tidy() == (0, dropped)
    assert before - Counter.objects.count() == dropped


@pytest.mark.parametrize(("hours", "dropped"), [(47, 0), (49, 1)])
def test_an_answer_is_kept_as_long_as_it_is_replayed(hours: int, dropped: int) -> None:
    IdempotencyRecord.objects.create(
        token_id=1, endpoint="start", key="k", fingerprint=b"f", answer={},
        created_at=timezone.now() - timedelta(hours=hours),
    )  # fmt: skip
    assert tasks.tidy() == (dropped, 0)
    assert IdempotencyRecord.objects.count() == 1 - dropped
