"""A month that will run over its budget is reported once, with the error of the projection."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib import import_module

import pytest
from django.db import connection

from budgets import alerts
from budgets.finops.bills import actuals, monthly_budgets, projection
from budgets.finops.reviews import figures
from budgets.models import (
    Alert,
    BilledCost,
    BillImport,
    Counter,
    DimensionBudget,
    ServiceMapping,
)
from opslog.models import InferenceHour, OutboxMessage
from opslog.telemetry import rollup
from opslog.telemetry.accepting import accept_inference
from opslog.telemetry.drafts import InferenceDraft
from tests.factories import make_hour, make_user
from tests.trail import meta_of, trail

NOON = datetime(2026, 11, 11, 12, 0, tzinfo=UTC)  # ten and a half days of thirty


def even(days: int, usd: str, until: date) -> dict[date, Decimal]:
    """The same every day; the last one is half over."""
    sums = {until - timedelta(days=ago): Decimal(usd) for ago in range(1, days)}
    return sums | {until: Decimal(usd) / 2}


def test_an_even_month_is_projected_to_its_end() -> None:
    """$2.00 a day: $21.00 so far, $60.00 in thirty days, and the past was always so."""
    made = projection.project(even(40, "2.00", NOON.date()), NOON)
    assert made is not None
    assert made.spent.quantize(Decimal("0.01")) == Decimal("21.00")
    assert made.projected.quantize(Decimal("0.01")) == Decimal("60.00")
    assert made.low is not None
    assert made.low.quantize(Decimal("0.01")) == Decimal("60.00")


def test_a_history_of_two_days_says_nothing() -> None:
    assert projection.project(even(3, "2.00", NOON.date()), NOON) is None
    assert projection.project({}, NOON) is None


def spend(sums: dict[date, Decimal]) -> None:
    with connection.cursor() as cursor:
        for day, usd in sums.items():
            cursor.execute(
                'INSERT INTO counters (key, scope, subject, "window", starts_at, settled_usd) '
                "SELECT tollgate.counter_key('global', '', 'day', d), 'global', '', 'day', d, %s "
                "FROM (SELECT %s::timestamptz AS d) v",
                [usd, datetime(day.year, day.month, day.day, tzinfo=UTC)],
            )


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("budget", "raised"), [("60.01", 0), ("60.00", 1), ("21.01", 1), ("20", 0)]
)
def test_it_is_reported_once_from_a_hundred_per_cent_on(budget: str, raised: int) -> None:
    """At $20 the month is over its budget already: its tiers report that."""
    spend(even(40, "2.00", NOON.date()))
    DimensionBudget.objects.filter(dimension="llm_api").update(monthly_usd=budget)
    monthly_budgets.watch_projections(NOON)
    monthly_budgets.watch_projections(NOON + timedelta(hours=1))
    found = Alert.objects.filter(kind="month_projection")
    assert found.count() == raised
    for alert in found:
        assert "2026-11 is projected at $60.00 of its budget of" in alert.message
        assert "in nine of ten cases" in alert.message


@pytest.mark.django_db
def test_one_import_is_one_message() -> None:
    """It passes 50, 80 and 100 % of two budgets at once."""
    make_user("op", groups=["operations"])
    today = NOON.date()
    bill = BillImport.objects.create(
        file_name="bill.csv", sha256="0", lines=2, bad_lines=0, billed_usd=200, periods=[],
        imported_by="fin",
    )  # fmt: skip
    for dimension, category in (("compute", "Compute"), ("storage", "Storage")):
        DimensionBudget.objects.filter(dimension=dimension).update(monthly_usd=100)
        ServiceMapping.objects.update_or_create(
            service_category=category, service_name="", defaults={"dimension": dimension}
        )
        BilledCost.objects.create(
            bill="b", billing_period=today.replace(day=1), day=today, service_category=category,
            service_name="x", billed_usd=100, lines=1, source=bill,
        )  # fmt: skip
    assert monthly_budgets.watch(today) >= 2
    alerts.tell()
    (message,) = OutboxMessage.objects.filter(topic="dimension_tier")
    assert "Compute" in message.text
    assert "Storage" in message.text


@pytest.mark.django_db
def test_the_projection_starts_from_what_the_tiers_count() -> None:
    """$2.00 a day settled and $1.00 of calls that never asked: $31.50 so far, $90.00 projected. The
    reservation of $5.00 that is open is no cost yet, but counts toward the limits."""
    days = even(40, "2.00", NOON.date())
    spend(days)
    Counter.objects.filter(starts_at__date=NOON.date()).update(reserved_usd=5)
    for day, usd in days.items():
        make_hour(day, usd=f"{usd + usd / 2}", governed_usd=usd)
    DimensionBudget.objects.filter(dimension="llm_api").update(monthly_usd=80)
    assert actuals.of_month(date(2026, 11, 1))["llm_api"].usd == Decimal("31.50")
    found = projection.of_month(NOON)
    assert found["llm_api"].spent == Decimal("31.50")
    assert found["llm_api"].projected == Decimal("90.00")
    assert found[projection.GOVERNED_SPEND].spent == Decimal("26.00")  # 21.00 + 5.00
    assert monthly_budgets.watch_projections(NOON) == 1
    alert = Alert.objects.get(kind="month_projection", owner_type="dimension_budget")
    assert (alert.meta["used"], alert.meta["projected"]) == ("31.50", "90.00")
    about = f"dimension_budget {alert.owner_id}"
    assert trail("MONTH_PROJECTION") == [("MONTH_PROJECTION", about, "tollgate")]
    assert meta_of("MONTH_PROJECTION") == alert.meta


@pytest.mark.django_db
@pytest.mark.parametrize("seen", ["alerts", "review"])
def test_after_an_upgrade_what_runs_settled_counts_once(seen: str) -> None:
    """$60.00 of a run were settled, and its telemetry was summed up before the sums showed it."""
    today = NOON.date()
    spend({today: Decimal(60)})
    accept_inference(
        [InferenceDraft(model="m", created_at=NOON, cost_usd=Decimal(60), work_order_id="w")],
        source="api",
        now=NOON,
    )
    rollup.refresh()
    make_hour(date(2026, 11, 2), usd="40")  # its calls are dropped
    InferenceHour.objects.update(governed_usd=0)
    migration = import_module("opslog.migrations.0007_figures_data")
    with connection.cursor() as cursor:
        cursor.execute(migration.STALE)
        cursor.execute(migration.GOVERNED)
    DimensionBudget.objects.filter(dimension="llm_api").update(monthly_usd=100, tiers=[70])
    if seen == "alerts":
        assert monthly_budgets.watch(today) == 0
    else:
        taken = figures.take(today.replace(day=1))["dimensions"]
        (llm,) = [each for each in taken if each["dimension"] == "llm_api"]
        assert (llm["usd"], llm["passed"]) == ("60.00", [])
    assert actuals.of_month(date(2026, 11, 1))["llm_api"].usd == Decimal(60)
