"""Pages, and the rows that their figures are recomputed from."""

import re
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

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
from tests.figures.reading import Page, read
from workorders.models import Run

SQL = Path(__file__).with_name("sql")
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

    def _make(self, view: str, fields: dict[str, str]) -> None:
        text = (SQL / f"{view}.sql").read_text()
        self.owner.execute(text if fields else text.replace("%", "%%"), fields)

    def look_at(self, fields: dict[str, str]) -> None:
        """Views of one day, or of one work order."""
        self._make("interpolated", {})
        self._make("hotspot_views", {})
        if "day" in fields:
            self._make("day_rows", fields)
        if "wo" in fields:
            self._make("of_work_order", fields)
        if "by" in fields:
            self._make("first_page", fields)

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

    def rows(self, sql: str, fields: dict[str, Any]) -> dict[str, Decimal | None]:
        self.owner.execute(sql if fields else sql.replace("%", "%%"), fields)
        rows = self.owner.fetchall()
        assert rows is not None
        one = [("", *row) if len(row) == 1 else row for row in rows]
        assert len({str(row[0]) for row in one}) == len(one), ("twice", one)
        return {str(of): None if value is None else Decimal(str(value)) for of, value in one}


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
