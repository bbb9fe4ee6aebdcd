"""Each figure of each page, computed again from the rows by SQL of its own (`sql/`), exactly.

A page names its figures (`data-figure`) and gives them exactly (`value`). A figure that has no SQL
here fails, and so does SQL whose figure the page does not show. Whose they are (`data-of`) must
agree as well: a row too many or too few is a difference.
"""

from decimal import Decimal
from typing import Any

import pytest

from tests.figures.desk import ELSEWHERE, Desk, statements

NANO = Decimal("0.000000001")


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


@pytest.mark.parametrize(("name", "url", "fields", "part"), PAGES)
def test_each_figure_is_what_the_rows_say(
    desk: Desk, name: str, url: str, fields: dict[str, str], part: bool
) -> None:
    fields = {key: value.format(**desk.names) for key, value in fields.items()}
    page, sql = desk.page(url.format(**{**desk.names, **fields})), statements(name)
    desk.look_at(fields)
    wrong: dict[str, Any] = {}
    for figure in sorted(page.figures.keys() | sql.keys()):
        if figure not in sql:
            if not figure.startswith(ELSEWHERE.get(name, ())):
                wrong[figure] = "has no SQL"
            continue
        shown = {of: v for of, v in page.of(figure).items() if not of.endswith(GUESSED)}
        wanted = desk.rows(sql[figure], fields)
        if part:
            wanted = {of: value for of, value in wanted.items() if of in shown}
        if found := differences(shown, wanted, to=FROM_FLOATS.get(figure, NANO)):
            wrong[figure] = found
    assert not wrong
