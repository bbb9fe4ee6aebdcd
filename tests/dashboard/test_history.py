"""Sums of hours that are over, which say what the rows say; and what is usual."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from budgets import tasks
from budgets.models import GovernedHour
from budgets.usage import history
from opslog.pages.charts import Series
from tests import factories
from tests.admin.scene import make_run
from tests.admission.desk import Desk, install_clock, run_of, set_clock

NOW = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)
OLD = NOW - timedelta(hours=40)
WEEK = history.SPANS["7d"]


def kept() -> set[datetime]:
    return set(GovernedHour.objects.filter(kind="all").values_list("hour", flat=True))


def hour_of(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def spent(kind: str = "all") -> dict[str, Decimal]:
    return {each.name: total(each) for each in history.by_group(kind, WEEK, NOW)}


def total(series: Series) -> Decimal:
    return sum((value or Decimal(0) for value in series.values), Decimal(0))


@pytest.fixture
def at_now(committed_db: str) -> None:
    install_clock()
    set_clock(NOW)


@pytest.mark.usefixtures("at_now")
def test_kept_hours_are_what_the_rows_are() -> None:
    """$0.10 and $0.20 of one hour, $0.40 of another, $0.80 of today; names of each kind."""
    orders = [factories.make_work_order(id) for id in ("w1", "w2")]
    for order, at, usd, feature in (
        (orders[0], OLD, "0.10", "chat"),
        (orders[1], OLD, "0.20", ""),
        (orders[0], OLD - timedelta(days=2), "0.40", "chat"),
        (orders[0], NOW - timedelta(hours=1), "0.80", "chat"),
    ):
        make_run(order, started_at=at, finished_at=at, status="success", cost=usd, feature=feature)
    before = {kind: spent(kind) for kind in ("all", *history.GROUPS)}
    assert before["work_order"] == {"w1": Decimal("1.30"), "w2": Decimal("0.20")}
    assert before["feature"] == {"chat": Decimal("1.30"), "": Decimal("0.20")}
    assert tasks.keep_hours_of_spend() == 64, "from the first run on, to 25 hours ago"
    assert history.keep_hours() == 0
    assert hour_of(OLD) in kept()
    assert hour_of(NOW - timedelta(hours=1)) not in kept()
    assert {kind: spent(kind) for kind in ("all", *history.GROUPS)} == before


@pytest.mark.usefixtures("at_now")
def test_an_hour_in_which_a_run_is_open_is_not_kept() -> None:
    order = factories.make_work_order()
    make_run(order, started_at=OLD)
    make_run(order, started_at=OLD - timedelta(hours=2), finished_at=OLD, status="error", cost=1)
    history.keep_hours()
    assert hour_of(OLD) not in kept()
    assert hour_of(OLD - timedelta(hours=2)) in kept()


@pytest.mark.usefixtures("at_now")
def test_a_late_report_drops_the_sums_of_its_hour() -> None:
    """Expired at $0.30, and reported at $0.05 two days later."""
    factories.make_work_order()
    factories.lift_limits()
    desk = Desk()
    set_clock(OLD)
    late = run_of(desk.start(usd="0.30", lease_seconds=60))
    set_clock(OLD + timedelta(minutes=5))
    assert tasks.expire_leases() == 1
    set_clock(NOW)
    history.keep_hours()
    assert spent() == {"": Decimal("0.30")}
    assert desk.finish(late, "0.05").status == 200
    assert hour_of(OLD) not in kept()
    assert spent() == {"": Decimal("0.05")}
    assert history.keep_hours() == 1
    assert spent() == {"": Decimal("0.05")}


@pytest.mark.usefixtures("at_now")
def test_small_names_of_a_crowded_hour_are_one() -> None:
    order = factories.make_work_order()
    for number in range(4):
        make_run(order, started_at=OLD, finished_at=OLD, status="success", cost=1 + number,
            user_id=f"u{number}")  # fmt: skip
    with connection.cursor() as cursor:
        while OLD.replace(minute=0) not in kept():
            cursor.execute("SELECT tollgate.keep_hour_v1(2)")
    assert spent("user") == {"u3": 4, "u2": 3, "others": 3}
    assert spent() == {"": 10}


@pytest.mark.usefixtures("at_now")
def test_usual_is_the_median_of_the_same_time_of_seven_days() -> None:
    """Of a whole hour: $1 to $7 on the seven days before, of which $4 is the middle. Of half of it:
    half. A name that had nothing has $0."""
    order = factories.make_work_order()
    for day in range(1, 9):
        at = NOW - timedelta(days=day)
        make_run(order, started_at=at, finished_at=at, status="success", cost=day, feature="chat")
    since = hour_of(NOW)
    whole = history.usual("feature", ["chat", "none"], since, since + timedelta(hours=1))
    assert whole == {"chat": 4, "none": 0}
    half = history.usual("feature", ["chat"], since, since + timedelta(minutes=30))
    assert half == {"chat": 2}


@pytest.mark.usefixtures("at_now")
def test_nothing_is_usual_before_there_are_three_days() -> None:
    at = NOW - timedelta(days=2, hours=2)
    make_run(factories.make_work_order(), started_at=at, finished_at=at, status="success", cost=1)
    assert history.usual("all", [""], hour_of(NOW), NOW) == {}


def test_the_largest_series_are_shown_and_the_rest_is_one() -> None:
    hour = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [(hour, name, Decimal(value)) for value, name in enumerate("abcdefg", start=1)]
    shown = history.stacked([hour], [*rows, (hour, history.OTHERS, Decimal(50))])
    assert [(each.name, int(total(each))) for each in shown] == [
        ("g", 7),
        ("f", 6),
        ("e", 5),
        ("d", 4),
        ("c", 3),
        ("others", 53),
    ]


def test_columns_end_with_the_present_one() -> None:
    at = datetime(2026, 1, 31, 13, 45, 12, tzinfo=UTC)
    first_and_last = {
        name: (len(found), found[0], found[-1])
        for name, span in history.SPANS.items()
        if (found := history.columns(span, at))
    }
    assert first_and_last == {
        "1h": (
            60,
            datetime(2026, 1, 31, 12, 46, tzinfo=UTC),
            datetime(2026, 1, 31, 13, 45, tzinfo=UTC),
        ),
        "24h": (24, datetime(2026, 1, 30, 14, tzinfo=UTC), datetime(2026, 1, 31, 13, tzinfo=UTC)),
        "7d": (28, datetime(2026, 1, 24, 18, tzinfo=UTC), datetime(2026, 1, 31, 12, tzinfo=UTC)),
        "30d": (30, datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 31, tzinfo=UTC)),
    }
