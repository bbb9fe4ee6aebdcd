"""The rules as tables, without a database."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opslog.incidents import rules
from opslog.incidents.costs import baseline
from opslog.incidents.finding import Contribution
from opslog.incidents.queries import literal
from opslog.incidents.rules import Hour, Open, Situation
from opslog.pages.charts import waterfall
from tests.incidents.findings import AT, HOUR, make_finding

USD = Decimal


@pytest.mark.parametrize(
    ("cost", "normal", "severity"),
    [
        ("1.30", "1", "minor"),
        ("2.00", "1", "minor"),
        ("2.01", "1", "major"),
        ("5.00", "1", "major"),
        ("5.01", "1", "critical"),
        ("0.10", "0", "minor"),  # ten cents an hour, whatever the ratio
        ("0.20", "0.01", "minor"),  # twenty times as much, and 19 cents an hour
        ("0.50", "0", "major"),  # $12 a day
        ("1.99", "0.01", "major"),
        ("2.00", "0", "critical"),  # $48 a day
        ("109.99", "100", "minor"),
        ("110.00", "100", "major"),  # ten dollars more in an hour
        ("140.00", "100", "critical"),
    ],
)
def test_severity(cost: str, normal: str, severity: str) -> None:
    assert rules.severity_of(USD(cost), USD(normal)) == severity


OPEN = [
    Open(4, "chat", AT, None),
    Open(3, "", AT - 9 * HOUR, None),
    Open(2, "search", AT - 30 * HOUR, AT - 25 * HOUR),
    Open(1, "mail", AT - 30 * HOUR, AT - 23 * HOUR),
]


@pytest.mark.parametrize(
    ("opens", "feature", "start", "found"),
    [
        (OPEN, "chat", AT, 4),
        (OPEN, "chat", AT + 90 * HOUR, 4),  # it never stopped
        (OPEN, "", AT, 3),  # the one that nobody could attribute either
        (OPEN, "code", AT, 3),  # … and here somebody can
        (OPEN[:1], "code", AT + 6 * HOUR, 4),  # the blame moved
        (OPEN[:1], "code", AT + 7 * HOUR, None),  # another spike
        (OPEN[:1], "", AT + 90 * HOUR, 4),
        (OPEN[2:], "mail", AT, 1),  # back within a day
        (OPEN[2:], "search", AT, None),  # a day later: a new one
        (OPEN[2:], "", AT, None),
        ([], "chat", AT, None),
    ],
)
def test_which_spike_it_is(
    opens: list[Open], feature: str, start: datetime, found: int | None
) -> None:
    assert rules.same_spike(opens, feature, start, AT) == found


MAIL = Open(1, "mail", AT - 30 * HOUR, AT - 20 * HOUR, reviewed=True)


@pytest.mark.parametrize(
    ("opens", "feature", "start", "found"),
    [
        ([MAIL], "mail", AT - 29 * HOUR, 1),  # its hours are its own
        ([MAIL], "mail", AT - 20 * HOUR, None),  # later: a spike of its own, as it was reviewed
        ([MAIL], "", AT - 21 * HOUR, 1),
        ([MAIL], "chat", AT - 26 * HOUR, 1),  # it began with it
        ([MAIL], "chat", AT - 23 * HOUR, None),
        (
            [MAIL, Open(2, "chat", AT - 3 * HOUR, None)],
            "",
            AT - 25 * HOUR,
            2,
        ),  # an active one first
    ],
)
def test_hours_of_a_closed_incident_are_its_own(
    opens: list[Open], feature: str, start: datetime, found: int | None
) -> None:
    assert rules.same_spike(opens, feature, start, AT) == found


@pytest.mark.parametrize(
    ("letters", "closed_minute", "going", "begins"),
    [
        # D: dear, n: normal, -: silent. The first two are the hours before the closing.
        ("DDD", 5, "ON", None),
        ("DD", 5, "OVER", None),  # no hour since
        ("DDD", 55, "OVER", None),  # nearly all of it was before the closing
        ("DDDD", 55, "ON", None),
        ("DDn", 5, "OVER", None),  # on its way down
        ("DDnD", 5, "ON", None),
        ("nnD", 5, "OVER", None),  # a blip
        ("nnDD", 5, "AGAIN", 2),
        ("DDDnnDD", 5, "AGAIN", 5),
        ("DDDnnDDnnD", 5, "OVER", None),
        ("nn--DnD", 5, "AGAIN", 4),
        ("DD--", 5, "OVER", None),  # silence says nothing
        ("----", 5, "ON", None),  # nothing but the verdict is known
    ],
)
def test_what_the_hours_since_a_closing_say(
    letters: str, closed_minute: int, going: str, begins: int | None
) -> None:
    normal = {"D": False, "n": True, "-": None}
    hours = [(AT + n * HOUR, normal[each]) for n, each in enumerate(letters)]
    closed = AT + 2 * HOUR + timedelta(minutes=closed_minute)
    found = rules.since_closed(hours, closed)
    assert (found[0].name, found[1]) == (going, None if begins is None else AT + begins * HOUR)


def test_calm_hours_are_no_waiting() -> None:
    """Escalated once, eleven hours of calm, and one hour above normal: nobody waited an hour."""
    costs = [*["30"] * 2, *["10"] * 11, "30"]
    since = rules.above_since(hours(*costs))
    now = AT + 14 * HOUR + timedelta(minutes=5)
    assert since == AT + 13 * HOUR
    seen = Situation(1, "critical", AT, None, AT + 2 * HOUR, since, rising=False)
    assert rules.level_due(seen, now) == 1
    assert rules.level_due(seen, now + HOUR) == 2


def hours(*usd: str, normal: str = "10") -> list[Hour]:
    return [Hour(AT + n * HOUR, USD(each), USD(normal)) for n, each in enumerate(usd)]


@pytest.mark.parametrize(
    ("costs", "normal", "calm"),
    [
        (("30", "12", "12"), "10", 2),
        (("30", "12", "12.01"), "10", 0),
        (("12", "30", "11"), "10", 1),
        (("300", "12", "12.01"), "10", 0),  # however dear the spike was
        (("30", "0.1", "0.1"), "0", 2),  # what nobody is woken for, where nothing is normal
        (("30", "0.1", "0.11"), "0", 0),
        (("30", "0.30", "0.30"), "0.20", 2),
        (("30", "0.60", "0.61"), "0.50", 0),
        ((), "10", 0),
    ],
)
def test_calm_hours(costs: tuple[str, ...], normal: str, calm: int) -> None:
    assert rules.calm_since(hours(*costs, normal=normal)) == calm


@pytest.mark.parametrize(
    ("costs", "acted_after", "rising"),
    [
        (("10", "30", "31"), 2, True),
        (("10", "30", "29"), 2, False),
        (("10", "30", "31"), 3, False),  # no whole hour since
        (("10", "30", "31"), None, False),
    ],
)
def test_rising(costs: tuple[str, ...], acted_after: int | None, rising: bool) -> None:
    acted = None if acted_after is None else AT + acted_after * HOUR
    assert rules.is_rising(hours(*costs), acted) == rising


@pytest.mark.parametrize(
    ("level", "severity", "mitigated", "escalated", "above", "rising", "due"),
    [
        (0, "minor", 10, None, True, True, 1),  # at once: it rises after a mitigation
        (0, "minor", 10, None, True, False, 0),
        (0, "minor", None, None, True, False, 1),  # nobody did anything for an hour
        (0, "critical", 10, None, True, False, 1),  # at once, whatever was done
        (0, "critical", None, None, False, False, 0),  # it came down by itself
        (1, "minor", 10, 59, True, True, 1),
        (1, "minor", 10, 60, True, False, 2),  # an hour, and still above
        (1, "minor", 10, 60, False, False, 1),
        (2, "major", 10, 60, True, True, 2),
        (2, "critical", 10, 60, True, True, 3),
        (2, "critical", 10, 59, True, True, 2),
        (3, "critical", 10, 600, True, True, 3),
    ],
)
def test_escalation(
    level: int, severity: str, mitigated: int | None, escalated: int | None, above: bool,
    rising: bool, due: int,
) -> None:  # fmt: skip
    def ago(minutes: int | None) -> datetime | None:
        return None if minutes is None else AT - timedelta(minutes=minutes)

    since = AT - 3 * HOUR if above else None
    seen = Situation(level, severity, AT - HOUR, ago(mitigated), ago(escalated), since, rising)
    assert rules.level_due(seen, AT) == due


@pytest.mark.parametrize(
    ("severity", "reached"),
    [
        ("critical", {0: 1, 59: 1, 60: 2, 119: 2, 120: 3, 600: 3}),  # the runbook's three
        ("major", {0: 0, 59: 0, 60: 1, 119: 1, 120: 2, 600: 2}),
    ],
)
def test_levels_of_an_incident_that_nobody_looks_at(severity: str, reached: dict[int, int]) -> None:
    """Every minute the job looks; so many minutes after it was detected such a level is reached."""
    level, escalated, levels = 0, None, {}
    for minute in range(601):
        now = AT + timedelta(minutes=minute)
        seen = Situation(level, severity, AT, None, escalated, AT - 3 * HOUR, rising=False)
        if (due := rules.level_due(seen, now)) != level:
            level, escalated = due, now
        levels[minute] = level
    assert {minute: levels[minute] for minute in reached} == reached


def test_baselines() -> None:
    """The median of the same hour of the week; of any day where there are less than two."""
    monday = datetime(2026, 11, 2, tzinfo=UTC)
    past = {monday + n * HOUR: USD(n // 24) for n in range(15 * 24)}  # the number of the day
    normal = baseline(past, monday, monday + timedelta(days=15))
    assert normal[0, 5] == 7  # Mondays 0, 7, 14
    assert normal[1, 5] == USD("4.5")  # Tuesdays 1 and 8
    short = baseline(past, monday, monday + timedelta(days=3))
    assert short[0, 5] == short[6, 5] == 1  # days 0, 1, 2
    assert baseline({}, monday, monday) == {}
    assert baseline({monday: USD(4)}, monday, monday + 25 * HOUR)[0, 0] == 2  # 4, and nothing


@given(
    st.lists(st.decimals("-50", "50", places=2), min_size=1, max_size=6).filter(
        lambda parts: sum(parts) > 0
    )
)
def test_bars_end_where_the_change_does(parts: list[Decimal]) -> None:
    drawn = waterfall([(str(n), part) for n, part in enumerate(parts)])
    assert sum(bar.value for bar in drawn) == sum(parts)
    assert all(0 <= float(bar.left) <= 100 for bar in drawn)
    assert all(float(bar.left) + float(bar.width) <= 100.5 for bar in drawn)


@pytest.mark.parametrize(
    "fields",
    [
        {"until": AT, "started_at": AT},
        {"until": AT, "confidence": 1.2},
        {"until": AT, "cost": "3.00"},
        {"until": AT, "contributions": (Contribution("x", "x", USD(1)),)},
    ],
)
def test_a_verdict_that_does_not_fit_together(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"spike|confidence|contributions"):
        make_finding(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "quoted"),
    [("chat", "'chat'"), ("it's", "E'it\\U00000027s'"), ("\\`", "E'\\U0000005C\\U00000060'")],
)
def test_literals(text: str, quoted: str) -> None:
    assert literal(text) == quoted
