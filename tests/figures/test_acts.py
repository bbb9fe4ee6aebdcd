"""The figures in what an act says it will do."""

import re
from decimal import Decimal
from html import unescape

from budgets.evidence.selector import evidence_for
from tests.figures.desk import Desk
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


def shown_amounts(desk: Desk, url: str, sentence: re.Pattern[str]) -> list[Decimal]:
    text = unescape(desk.client.get(url).content.decode())
    found = sentence.search(text)
    assert found, url
    return [Decimal(each.replace(",", "")) for each in found.groups()]


def row(desk: Desk, sql: str) -> list[Decimal]:
    desk.owner.execute(sql)
    return [Decimal(each).quantize(CENT) for each in desk.owner.fetchone() or ()]


def test_suspending_says_what_is_used(desk: Desk) -> None:
    used = "SELECT runs, runs_cap, settled + reserved, usd_cap FROM today WHERE id = 'edge'"
    assert shown_amounts(desk, "/admin/workorders/workorder/edge/suspend/", SUSPEND) == row(
        desk, used
    )


def test_resuming_says_what_is_left(desk: Desk) -> None:
    left = "SELECT runs_cap - runs, usd_cap - settled - reserved FROM today WHERE id = 'edge'"
    assert shown_amounts(desk, "/admin/workorders/workorder/edge/resume/", LEFT) == row(desk, left)


def test_switching_a_feature_says_what_it_did(desk: Desk) -> None:
    did = """
        SELECT sum(runs), sum(settled + reserved) FILTER (WHERE runs = 1), sum(calls),
            sum(settled) FILTER (WHERE calls = 1)
        FROM spent, clock WHERE feature = 'edge-feature' AND at >= now - interval '24 hours'
    """
    url = f"/admin/budgets/featurecontrol/{desk.names['feature']}/switch/"
    assert shown_amounts(desk, url, SWITCH) == row(desk, did)


def test_the_demo_keeps_to_its_own_caps(desk: Desk) -> None:
    """Replayed under the caps of the time, each work order admits exactly what it did."""
    for work_order in WorkOrder.objects.all():
        found = evidence_for(
            work_order.pk, new_runs_per_day=None, new_usd_per_day=None, now=desk.at
        )
        assert found.what_if.reproduced, work_order.pk
