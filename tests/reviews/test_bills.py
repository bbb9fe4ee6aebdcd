"""Bills in the database: imported again and again, mapped, held against monthly budgets."""

import gzip
import io
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from budgets import clock, tasks
from budgets.exceptions import Refused
from budgets.finops.bills import actuals, monthly_budgets
from budgets.models import Alert, BilledCost, BillImport, Counter, DimensionBudget, ServiceMapping
from opslog.models import InferenceHour, OperationsEvent
from tests.factories import make_hour
from tests.reviews.bills import HEADER, line
from tests.trail import meta_of, trail

MONTH = date(2026, 10, 1)


@pytest.fixture
def bill(tmp_path: Path):
    def write(*lines: str) -> str:
        file = tmp_path / "bill.csv"
        file.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8-sig")
        return str(file)

    return write


def imported(file: str, *options: str) -> str:
    out = io.StringIO()
    call_command("import_focus", file, "--by=finance", *options, stdout=out, stderr=out)
    return out.getvalue()


def test_reading_a_file_again_changes_nothing(db: None, bill) -> None:
    file = bill(line("1.50"), line("2"), line("4", 9, "Storage", "Objects"))
    for _ in range(2):
        assert "3 lines, $7.50" in imported(file)
    assert BilledCost.objects.count() == 2
    found = actuals.of_month(MONTH)
    assert (found["compute"].usd, found["storage"].usd) == (Decimal("3.50"), Decimal(4))
    assert BillImport.objects.count() == 2
    assert OperationsEvent.objects.filter(kind="BILL_IMPORTED", actor="finance").count() == 2


def test_a_corrected_file_replaces(db: None, bill) -> None:
    imported(bill(line("1.00"), line("2", 4)))
    imported(bill(line("1.50"), line("9", 4), line("3", 4, name="Other")))
    assert actuals.of_month(MONTH)["compute"].usd == Decimal("13.50")


@pytest.mark.parametrize(
    ("lines", "lost"),
    [
        # A day less.
        ([line("5", 2)], "1 lines, $1.00 and 1 days"),
        # A line less, of the same dollars; fewer dollars in as many lines.
        ([line("2", 1), line("1", 2)], None),
        ([line("1", 1), line("0.25", 2)], "0 lines, $0.75 and 0 days"),
        # More in all, of another service or on other days: the rest of a bill that came in two.
        ([line("9", 1, name="Other"), line("9", 2)], "1 lines, $1.00 and 0 days"),
        ([line("100", 20), line("100", 21), line("100", 22)], "2 lines, $2.00 and 2 days"),
        ([line("-5", 1), line("1", 2)], "0 lines, $6.00 and 0 days"),
    ],
)
def test_what_a_replacement_loses_is_said_and_confirmed(
    db: None, bill, lines: list[str], lost: str | None
) -> None:
    imported(bill(line("1", 1), line("1", 2)))
    part = bill(*lines)
    if lost is not None:
        with pytest.raises(CommandError, match=re.escape(f"period from 2026-10-01: {lost}")):
            imported(part)
        assert actuals.of_month(MONTH)["compute"].usd == 2
    imported(part, *(["--shrink"] if lost else []))
    event = OperationsEvent.objects.filter(kind="BILL_IMPORTED").latest("id")
    assert bool(event.meta["lost"]) == (lost is not None)
    assert actuals.of_month(MONTH)["compute"].usd == sum(
        Decimal(each.partition(",")[0]) for each in lines
    )


def test_fewer_lines_of_the_same_dollars(db: None, bill) -> None:
    imported(bill(line("1", 1), line("1", 1)))
    with pytest.raises(CommandError, match=re.escape("1 lines, $0.00 and 0 days")):
        imported(bill(line("2", 1)))


def test_a_compressed_bill(db: None, bill, tmp_path: Path) -> None:
    file = tmp_path / "bill.csv.gz"
    file.write_bytes(gzip.compress(Path(bill(line("1.50"), line("2"))).read_bytes()))
    assert "2 lines, $3.50" in imported(str(file))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(CommandError, match="compressed badly, or cut off"):
        imported(str(file))


def test_bad_lines_stop_it_and_are_told(db: None, bill) -> None:
    file = bill(line("1"), line("x"), line("2", 4))
    result = io.StringIO()
    with pytest.raises(CommandError, match="1 of 3 lines are bad; nothing was imported"):
        call_command("import_focus", file, stderr=result)
    assert "line 3: BilledCost is no number: 'x'" in result.getvalue()
    assert not BilledCost.objects.exists()
    assert "1 lines left out" in imported(file, "--skip-bad")
    assert actuals.of_month(MONTH)["compute"].usd == 3


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"a,b\n1,2\n", b'"open'])
def test_what_is_no_bill(db: None, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(content)
    with pytest.raises(CommandError):
        imported(str(file))
    with pytest.raises(CommandError):
        imported(str(tmp_path / "none.csv"))


def test_a_service_wins_over_its_category(db: None, bill) -> None:
    imported(bill(line("1"), line("4", name="Runners"), line("9", category="Media")))
    assert actuals.of_month(MONTH)[""].usd == 9
    assert actuals.unmapped(MONTH) == [("Media", "Machines", Decimal(9))]
    data = {"service_category": "Compute", "service_name": "Runners", "dimension": "ci_cd"}
    mapping = monthly_budgets.map_service(None, data, by="ops")
    assert trail("SERVICE_MAPPED") == [("SERVICE_MAPPED", f"service_mapping {mapping.pk}", "ops")]
    assert meta_of("SERVICE_MAPPED")["new"] == "ci_cd"
    found = actuals.of_month(MONTH)
    assert (found["compute"].usd, found["ci_cd"].usd) == (Decimal(1), Decimal(4))
    with pytest.raises(Refused):
        monthly_budgets.map_service(None, data, by="ops")


def day_counter(usd: str) -> None:
    Counter.objects.create(
        key=f"day:{usd}:global:",
        scope="global",
        subject="",
        window="day",
        starts_at=datetime.combine(MONTH, time(), UTC),
        runs=1,
        settled_usd=Decimal(usd),
        reserved_usd=0,
    )


def test_models_are_counted_by_ourselves(db: None, bill) -> None:
    assert actuals.of_month(MONTH)["llm_api"].source == actuals.NOTHING
    day_counter("5")
    found = actuals.of_month(MONTH)["llm_api"]
    assert (found.usd, found.source) == (Decimal(5), actuals.SETTLED)
    make_hour(date(2026, 10, 31), usd="7")
    make_hour(date(2026, 11, 1), usd="100")
    imported(bill(line("6", category="AI and Machine Learning", name="Models")))
    found = actuals.of_month(MONTH)["llm_api"]
    assert (found.usd, found.source) == (Decimal(12), actuals.BOTH)
    assert (found.governed, found.ungoverned) == (Decimal(5), Decimal(7))
    assert found.billed == Decimal(6)


def test_telemetry_adds_only_what_never_asked(db: None) -> None:
    """Of $7.00 in telemetry, $6.40 are of calls that runs have settled already."""
    day_counter("202.99")
    result = make_hour(date(2026, 10, 31), usd="7")
    InferenceHour.objects.filter(pk=result.pk).update(governed_usd=Decimal("6.40"))
    found = actuals.of_month(MONTH)["llm_api"]
    assert (found.usd, found.source) == (Decimal("203.59"), actuals.BOTH)
    InferenceHour.objects.filter(pk=result.pk).update(governed_usd=Decimal(7))
    found = actuals.of_month(MONTH)["llm_api"]
    assert (found.usd, found.source) == (Decimal("202.99"), actuals.SETTLED)


@pytest.mark.parametrize(
    ("usd", "tiers"),
    [("69.99", []), ("70", [70]), ("90", [70, 90]), ("99.99", [70, 90]), ("500", [70, 90, 100])],
)
def test_tiers(db: None, usd: str, tiers: list[int]) -> None:
    budget = DimensionBudget.objects.get(dimension="compute")
    assert actuals.tiers_passed(Decimal(usd), budget) == []
    budget.monthly_usd = Decimal(100)
    assert actuals.tiers_passed(Decimal(usd), budget) == tiers


def test_each_tier_is_told_once(db: None, bill) -> None:
    DimensionBudget.objects.filter(dimension="compute").update(monthly_usd=100)
    imported(bill(line("75")))
    assert monthly_budgets.watch(date(2026, 10, 20)) == 1
    assert monthly_budgets.watch(date(2026, 11, 2)) == 0
    imported(bill(line("120")))
    assert monthly_budgets.watch(date(2026, 11, 2)) == 2  # bills of October come late
    alerts = Alert.objects.filter(kind="dimension_tier").order_by("id")
    assert [alert.meta["tier"] for alert in alerts] == [70, 90, 100]
    assert "100 % of the budget of 2026-10 reached ($120.00 of $100.00)" in alerts[2].message
    about = f"dimension_budget {DimensionBudget.objects.get(dimension='compute').pk}"
    assert (
        trail("DIMENSION_TIER", "BUDGET_ALERT")
        == [
            ("DIMENSION_TIER", about, "tollgate"),
            ("BUDGET_ALERT", about, "tollgate"),
        ]
        * 3
    )
    assert meta_of("BUDGET_ALERT") == {"kind": "dimension_tier", "tier": 100, "month": "2026-10"}
    assert meta_of("DIMENSION_TIER")["tier"] == 100


def test_the_job_watches_this_month(db: None) -> None:
    DimensionBudget.objects.filter(dimension="llm_api").update(monthly_usd=10)
    make_hour(actuals.first_of(clock.today()), usd="9.50")
    assert tasks.watch_monthly_budgets() >= 2  # and the projection, in some months
    tiers = Alert.objects.filter(kind="dimension_tier").order_by("id")
    assert [alert.meta["tier"] for alert in tiers] == [70, 90]
    assert tasks.watch_monthly_budgets() == 0


def test_changing_a_budget_leaves_an_event(db: None) -> None:
    budget = DimensionBudget.objects.get(dimension="compute")
    data = {name: getattr(budget, name) for name in monthly_budgets.FIELDS}
    data["monthly_usd"] = Decimal(80)
    monthly_budgets.change(budget.pk, data, reason="trend", by="fin")
    event = OperationsEvent.objects.get(kind="MONTHLY_BUDGET_CHANGE")
    assert event.meta["changes"] == {"monthly_usd": {"old": "None", "new": "80"}}
    bad: list[dict[str, object]] = [
        {"monthly_usd": Decimal(-1)},
        {"tiers": []},
        {"tiers": [0]},
        {"tiers": [500]},
    ]
    for wrong in bad:
        with pytest.raises(Refused):
            monthly_budgets.change(budget.pk, data | wrong, reason="x", by="fin")
    with pytest.raises(Refused):
        monthly_budgets.change(budget.pk, data, reason=" ", by="fin")


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE dimension_budgets SET monthly_usd = 0",
        "UPDATE dimension_budgets SET tiers = '{}'",
        "UPDATE dimension_budgets SET dimension = 'gold'",
        "UPDATE service_mappings SET dimension = 'gold'",
        "UPDATE service_mappings SET service_category = ''",
    ],
)
def test_the_database_refuses_too(db: None, sql: str) -> None:
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)
    assert ServiceMapping.objects.count() == 7
