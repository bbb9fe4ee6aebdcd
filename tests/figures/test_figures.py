"""Each figure of each page, computed again from the rows by SQL of its own (`sql/`), to the last digit.

A page names its figures (`data-figure`) and gives them exactly (`value`). A figure that has no SQL here
fails, and so does SQL whose figure the page does not show. Whose they are (`data-of`) must agree, too:
a row too many or too few is a difference.
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

from tests.access.walking import logged_in
from tests.admission.desk import set_clock
from tests.figures.reading import Page, read

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
        self.owner.execute((SQL / "raw.sql").read_text().replace("%", "%%"), {})

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
        return {
            str(of): None if value is None else Decimal(str(value)) for of, value in one
        }


@pytest.fixture(scope="module")
def desk(viewer: User) -> Iterator[Desk]:
    at = datetime.now(UTC)
    with time_machine.travel(at, tick=False):
        set_clock(at)
        yield Desk(viewer, at)
        set_clock(None)


def differences(shown: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Whose figures are not what the rows say, to less than a nano-dollar."""

    def same(one: Decimal | None, other: Decimal | None) -> bool:
        if one is None or other is None:
            return one is other
        return abs(one - other) < NANO

    return {
        of: (shown.get(of, "not shown"), wanted.get(of, "not there"))
        for of in shown.keys() | wanted.keys()
        if of not in shown or of not in wanted or not same(shown[of], wanted[of])
    }


PAGES: list[tuple[str, str, dict[str, Any]]] = [
    ("dashboard", "/ops-dashboard", {}),
    ("burn_rate", "/admin/burn-rate/", {}),
    ("daily_report", "/admin/daily-report/?day={yesterday}", {"day": "{yesterday}"}),
    ("daily_report", "/admin/daily-report/?day={today}", {"day": "{today}"}),
]


@pytest.mark.parametrize(("name", "url", "told"), PAGES)
def test_each_figure_is_what_the_rows_say(
    desk: Desk, name: str, url: str, told: dict[str, str]
) -> None:
    days = {"today": desk.at.date(), "yesterday": desk.at.date() - timedelta(days=1)}
    told = {key: value.format(**days) for key, value in told.items()}
    if "day" in told:
        desk.owner.execute((SQL / "day_rows.sql").read_text(), told)
    page, sql = desk.page(url.format(**days)), statements(name)
    wrong = {}
    for figure in sorted(page.figures.keys() | sql.keys()):
        if figure not in sql:
            wrong[figure] = "has no SQL"
            continue
        found = differences(page.of(figure), desk.rows(sql[figure], told))
        if found:
            wrong[figure] = found
    assert not wrong
