"""Each figure of each page, computed again from the rows by SQL of its own (`sql/`), exactly.

A page names its figures (`data-figure`) and gives them exactly (`value`). A figure that has no SQL
here fails, and so does SQL whose figure the page does not show. Whose they are (`data-of`) must
agree as well: a row too many or too few is a difference.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client

from budgets.models import (
    Budget,
    ChangeRequest,
    DimensionBudget,
    DirectSpend,
    FeatureControl,
    Hotspot,
    KillSwitch,
    MonthlyReview,
)
from opslog.models import Incident, InferenceEvent
from tests.access.walking import logged_in
from tests.admission.desk import set_clock
from tests.figures.reading import Page, read
from workorders.models import Run

SQL = Path(__file__).with_name("sql")
NANO = Decimal("0.000000001")
NAME = re.compile(r"^-- ([a-z_0-9]+(?:\.[a-z_0-9]+)+)$", re.MULTILINE)


def statements(name: str) -> dict[str, str]:
    """Figure → SQL, from a file where each statement stands below the names that it is for."""
    parts = NAME.split((SQL / f"{name}.sql").read_text())
    found: dict[str, str] = {}
    names: list[str] = []
    for figure, text in zip(parts[1::2], parts[2::2], strict=True):
        names.append(figure)
        if text.strip():
            found |= dict.fromkeys(names, text)
            names = []
    return found


class Desk:
    """Pages as somebody sees them at one moment, and the rows at the same one."""

    def __init__(self, viewer: User, at: datetime) -> None:
        self.client: Client = logged_in(viewer)
        self.at = at
        self.owner = connections["owner"].cursor()
        self.owner.execute("SELECT set_config('test.now', %s, false)", [at.isoformat()])
        for view in ("raw", "month"):
            self._make(view, {})
        self.names = self._names()

    def _make(self, view: str, told: dict[str, str]) -> None:
        text = (SQL / f"{view}.sql").read_text()
        self.owner.execute(text if told else text.replace("%", "%%"), told)

    def look_at(self, told: dict[str, str]) -> None:
        """Views of one day, or of one work order."""
        self._make("interpolated", {})
        self._make("hotspot_views", {})
        if "day" in told:
            self._make("day_rows", told)
        if "wo" in told:
            self._make("of_work_order", told)
        if "by" in told:
            self._make("first_page", told)

    def _names(self) -> dict[str, object]:
        """What addresses are made of."""
        users = Budget.objects.filter(scope="user", window="day", measure="usd")
        requests = ChangeRequest.objects.filter(status="pending").order_by("-pk")
        return {
            "today": self.at.date(),
            "yesterday": self.at.date() - timedelta(days=1),
            "user_limit": users.get(subject="*").pk,
            "vip_limit": users.get(subject="vip").pk,
            "caps_request": requests.get(subject_type="work_order", subject_id="edge").pk,
            "limit_request": requests.get(subject_type="budget").pk,
            "feature": FeatureControl.objects.get(feature="edge-feature").pk,
            "llm_budget": DimensionBudget.objects.get(dimension="llm_api").pk,
            "review": MonthlyReview.objects.get().pk,
            "incident": Incident.objects.get().pk,
            "overrun": Run.objects.get(wo="edge", user_id="alice", cost=Decimal("0.200000001")).pk,
            "call": InferenceEvent.objects.filter(computed_cost_usd=Decimal("0.000297"))[0].pk,
            "direct": DirectSpend.objects.order_by("pk")[0].pk,
            "everything": Hotspot.objects.get(feature="*").pk,
            "switch": KillSwitch.objects.get(target="agent:edge-open").pk,
            "network": DimensionBudget.objects.get(dimension="network").pk,
        }

    def page(self, url: str) -> Page:
        answer = self.client.get(url)
        assert answer.status_code == 200, (url, answer.status_code)
        return read(answer.content.decode())

    def rows(self, sql: str, told: dict[str, Any]) -> dict[str, Decimal | None]:
        self.owner.execute(sql if told else sql.replace("%", "%%"), told)
        rows = self.owner.fetchall()
        assert rows is not None
        one = [("", *row) if len(row) == 1 else row for row in rows]
        assert len({str(row[0]) for row in one}) == len(one), ("twice", one)
        return {str(of): None if value is None else Decimal(str(value)) for of, value in one}


@pytest.fixture(scope="module")
def desk(viewer: User) -> Iterator[Desk]:
    at = datetime.now(UTC)
    with time_machine.travel(at, tick=False):
        set_clock(at)
        yield Desk(viewer, at)
        set_clock(None)


# The triage reckons in floats, so the last of six decimals may be rounded either way.
FROM_FLOATS = {"incident.incident.cost_usd_per_hour": Decimal("0.0000011")}


def differences(
    shown: dict[str, Any], wanted: dict[str, Any], *, to: Decimal = NANO
) -> dict[str, Any]:
    """Whose figures are not what the rows say, to less than a nano-dollar."""

    def same(one: Decimal | None, other: Decimal | None) -> bool:
        if one is None or other is None:
            return one is other
        return abs(one - other) < to

    return {
        of: (shown.get(of, "not shown"), wanted.get(of, "not there"))
        for of in shown.keys() | wanted.keys()
        if of not in shown or of not in wanted or not same(shown[of], wanted[of])
    }


# What no row says: guesses, and what triage makes of the hours. Their arithmetic has tests of its
# own, in tests/forecast, tests/evidence and tests/triage.
ELSEWHERE = {
    "ask": ("chart.",),  # drawn by the same function as those of the work order's page
    "forecast": (
        "outlook.outlook.",
        "outlook.naive.",
        "outlook.score.",
        "forecast.each.found.",
        "chart.chart.busiest",
    ),
    "evidence": ("evidence.asked.", "evidence.other.", "evidence.model.", "decision."),
    "incident": ("incident_bars.", "incident_mitigations."),
}
GUESSED = ("(forecast)", "normal for that hour")  # columns of charts
EDGE = {"wo": "edge"}
# SQL, address, what both need to know, and whether the page shows but some of the rows.
PAGES: list[tuple[str, str, dict[str, str], bool]] = [
    *(
        (
            "dashboard",
            "/ops-dashboard?by={by}&window={window}&span={span}&chart={chart}",
            {"by": by, "window": window, "span": span, "chart": chart},
            False,
        )
        for by, window, span, chart in (
            ("work_order", "1h", "24h", "model"),
            ("model", "1m", "1h", "work_order"),
            ("agent", "today", "7d", "feature"),
            ("token", "1h", "30d", "user"),
            ("user", "1h", "7d", "agent"),
            ("feature", "today", "24h", "token"),
        )
    ),
    ("burn_rate", "/admin/burn-rate/", {}, False),
    ("daily_report", "/admin/daily-report/?day={yesterday}", {"day": "{yesterday}"}, False),
    ("daily_report", "/admin/daily-report/?day={today}", {"day": "{today}"}, False),
    ("work_order", "/admin/workorders/workorder/edge/change/", EDGE, False),
    (
        "work_order",
        "/admin/workorders/workorder/contract-summaries/change/",
        {"wo": "contract-summaries"},
        False,
    ),
    ("work_orders", "/admin/workorders/workorder/", {}, True),
    ("evidence", "/admin/budgets/changerequest/{caps_request}/change/", EDGE, False),
    (
        "limit_evidence",
        "/admin/budgets/changerequest/{limit_request}/change/",
        {"limit": "{user_limit}"},
        False,
    ),
    ("limits", "/admin/budgets/budget/", {}, False),
    ("limit", "/admin/budgets/budget/{user_limit}/change/", {"limit": "{user_limit}"}, False),
    ("limit", "/admin/budgets/budget/{vip_limit}/change/", {"limit": "{vip_limit}"}, False),
    ("feature", "/admin/budgets/featurecontrol/{feature}/change/", {}, False),
    ("breakers", "/admin/budgets/circuitbreaker/", {}, False),
    ("monthly_budgets", "/admin/budgets/dimensionbudget/", {}, False),
    ("monthly_budget", "/admin/budgets/dimensionbudget/{llm_budget}/change/", {}, False),
    ("monthly_review", "/admin/budgets/monthlyreview/{review}/change/", {}, False),
    ("hotspots", "/admin/budgets/hotspot/", {}, False),
    ("forecast", "/admin/forecast/", {}, False),
    ("calls", "/admin/opslog/inferenceevent/", {}, True),
    ("call", "/admin/opslog/inferenceevent/{call}/change/", {"call": "{call}"}, False),
    ("hours", "/admin/opslog/inferencehour/", {}, True),
    ("runs", "/admin/workorders/run/", {}, True),
    ("incident", "/admin/opslog/incident/{incident}/change/", {}, True),
    ("breach", "/admin/runbooks/budget-breach/", {}, False),
    ("production_run", "/admin/runbooks/production-run/", {}, False),
    ("cost_spike", "/admin/runbooks/cost-spike/", {}, False),
    ("cap_runbook", "/admin/runbooks/runs-429/?work_order=edge", EDGE, False),
    ("cap_usd_runbook", "/admin/runbooks/usd-429/?work_order=edge", EDGE, True),
    ("suspicious", "/admin/runbooks/suspicious/?work_order=edge", EDGE, False),
    ("run", "/admin/workorders/run/{overrun}/change/", {"run": "{overrun}"}, False),
    ("direct_spend", "/admin/budgets/directspend/{direct}/change/", {}, False),
    ("incidents", "/admin/opslog/incident/", {}, False),
    ("monthly_reviews", "/admin/budgets/monthlyreview/", {}, False),
    ("killswitches", "/admin/budgets/killswitch/", {}, False),
    ("killswitch", "/admin/budgets/killswitch/{switch}/change/", {}, False),
    ("ask", "/admin/budgets/changerequest/add/?work_order=edge", EDGE, True),
    ("unbudgeted", "/admin/budgets/dimensionbudget/{network}/change/", {}, False),
    ("bills", "/admin/budgets/billimport/", {}, False),
    ("hotspot", "/admin/budgets/hotspot/{everything}/change/", {}, False),
]


@pytest.mark.parametrize(("name", "url", "told", "part"), PAGES)
def test_each_figure_is_what_the_rows_say(
    desk: Desk, name: str, url: str, told: dict[str, str], part: bool
) -> None:
    told = {key: value.format(**desk.names) for key, value in told.items()}
    page, sql = desk.page(url.format(**{**desk.names, **told})), statements(name)
    desk.look_at(told)
    wrong: dict[str, Any] = {}
    for figure in sorted(page.figures.keys() | sql.keys()):
        if figure not in sql:
            if not figure.startswith(ELSEWHERE.get(name, ())):
                wrong[figure] = "has no SQL"
            continue
        shown = {of: v for of, v in page.of(figure).items() if not of.endswith(GUESSED)}
        wanted = desk.rows(sql[figure], told)
        if part:
            wanted = {of: value for of, value in wanted.items() if of in shown}
        if found := differences(shown, wanted, to=FROM_FLOATS.get(figure, NANO)):
            wrong[figure] = found
    assert not wrong
