"""The figures in what an act says it will do, and in the data that charts are drawn from."""

import json
import re
from decimal import Decimal
from html import unescape
from typing import Any

from budgets.evidence import evidence_for
from tests.figures.test_figures import Desk, desk  # noqa: F401  (the fixture)
from workorders.models import WorkOrder

SUSPEND = re.compile(
    r"Used today: ([\d,]+) of ([\d,]+) runs, \$([\d,]+\.\d\d) of \$([\d,]+\.\d\d)\."
)
LEFT = re.compile(r"Left today: ([\d,]+) runs, \$([\d,]+\.\d\d)\.")
SWITCH = re.compile(
    r"24 hours: ([\d,]+) runs, \$([\d,]+\.\d\d) "
    r"and ([\d,]+) calls of direct spend, \$([\d,]+\.\d\d)"
)
CENT = Decimal("0.01")


def told(desk: Desk, url: str, sentence: re.Pattern[str]) -> list[Decimal]:  # noqa: F811
    text = unescape(desk.client.get(url).content.decode())
    found = sentence.search(text)
    assert found, url
    return [Decimal(each.replace(",", "")) for each in found.groups()]


def row(desk: Desk, sql: str) -> list[Decimal]:  # noqa: F811
    desk.owner.execute(sql)
    return [Decimal(each).quantize(CENT) for each in desk.owner.fetchone() or ()]


def test_suspending_says_what_is_used(desk: Desk) -> None:  # noqa: F811
    used = "SELECT runs, runs_cap, settled + reserved, usd_cap FROM today WHERE id = 'edge'"
    assert told(desk, "/admin/workorders/workorder/edge/suspend/", SUSPEND) == row(desk, used)


def test_resuming_says_what_is_left(desk: Desk) -> None:  # noqa: F811
    left = "SELECT runs_cap - runs, usd_cap - settled - reserved FROM today WHERE id = 'edge'"
    assert told(desk, "/admin/workorders/workorder/edge/resume/", LEFT) == row(desk, left)


def test_switching_a_feature_says_what_it_did(desk: Desk) -> None:  # noqa: F811
    did = """
        SELECT sum(runs), sum(settled + reserved) FILTER (WHERE runs = 1), sum(calls),
            sum(settled) FILTER (WHERE calls = 1)
        FROM spent, clock WHERE feature = 'edge-feature' AND at >= now - interval '24 hours'
    """
    url = f"/admin/budgets/featurecontrol/{desk.names['feature']}/switch/"
    assert told(desk, url, SWITCH) == row(desk, did)


def charts(desk: Desk) -> dict[str, Any]:  # noqa: F811
    text = desk.client.get("/ops-dashboard").content.decode()
    found = re.search(r'<script id="tg-figures" type="application/json">(.*?)</script>', text, re.S)
    assert found
    return dict(json.loads(found[1], parse_float=Decimal))


def by_name(chart: dict[str, Any]) -> dict[str, dict[str, Decimal]]:
    """The first and the last of the 25 hours may have the same label: their sum is taken."""
    sums: dict[str, dict[str, Decimal]] = {}
    for series in chart["series"]:
        of_name = sums.setdefault(series["name"], {})
        for label, value in zip(chart["labels"], series["values"], strict=True):
            of_name[label] = of_name.get(label, Decimal(0)) + Decimal(value)
    return {
        name: {label: value for label, value in of.items() if value} for name, of in sums.items()
    }


def expected(desk: Desk, sql: str) -> dict[str, dict[str, Decimal]]:  # noqa: F811
    desk.owner.execute(sql)
    found: dict[str, dict[str, Decimal]] = {}
    for name, hour, value in desk.owner.fetchall():
        found.setdefault(name, {})[hour] = Decimal(value)
    return found


def test_charts_are_drawn_from_what_the_rows_say(desk: Desk) -> None:  # noqa: F811
    shown = charts(desk)
    hour = "to_char(at AT TIME ZONE 'UTC', 'HH24:00')"
    lately = "at >= now - interval '24 hours'"
    runs = (
        f"SELECT 'runs', {hour}, sum(runs) FROM spent, clock WHERE {lately} AND runs = 1 GROUP BY 2"
    )
    assert by_name(shown["runs"]) == expected(desk, runs)
    for chart, column, unnamed in (
        ("models", "model", "no model told"),
        ("features", "feature", "no feature told"),
    ):
        sums = f"""
            SELECT coalesce(nullif({column}, ''), '{unnamed}'), {hour}, sum(settled + reserved)
            FROM spent, clock WHERE {lately} GROUP BY 1, 2 HAVING sum(settled + reserved) > 0
        """
        wanted, got = expected(desk, sums), by_name(shown[chart])
        assert got.keys() == wanted.keys()
        for name, of in wanted.items():
            # Charts are drawn with the numbers of JavaScript.
            assert got[name].keys() == of.keys()
            assert all(abs(got[name][each] - of[each]) < Decimal("0.000000001") for each in of)


def test_the_demo_keeps_to_its_own_caps(desk: Desk) -> None:  # noqa: F811
    """Replayed under the caps of the time, each work order admits exactly what it did."""
    for work_order in WorkOrder.objects.all():
        found = evidence_for(
            work_order.pk, new_runs_per_day=None, new_usd_per_day=None, now=desk.at
        )
        assert found.what_if.reproduced, work_order.pk
