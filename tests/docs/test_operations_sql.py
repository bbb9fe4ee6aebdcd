"""Every query of docs/operations.md does what the page says, as the application's role."""

import re
from pathlib import Path

import pytest
from django.db import DatabaseError, connection, transaction

from tests import factories

PAGE = (Path(__file__).resolve().parents[2] / "docs/operations.md").read_text()
BLOCK = re.compile(r"(<!-- refused -->\s*)?```sql\n(.*?)```", re.DOTALL)


def statements(*, refused: bool) -> list[str]:
    found = []
    for mark, block in BLOCK.findall(PAGE):
        if bool(mark) == refused:
            parts = re.split(r";\s*(?:\n|$)", block)
            found += [part.strip() for part in parts if part.strip() not in ("", "BEGIN", "COMMIT")]
    return found


@pytest.fixture
def weekly_report(db: None) -> None:
    factories.make_work_order("weekly-report")


def test_the_page_has_queries() -> None:
    assert len(statements(refused=False)) >= 10
    assert len(statements(refused=True)) > 5


@pytest.mark.usefixtures("weekly_report")
@pytest.mark.parametrize("statement", statements(refused=False))
def test_it_runs(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        if not statement.startswith("SELECT"):
            assert cursor.rowcount == 1


@pytest.mark.usefixtures("weekly_report")
@pytest.mark.parametrize("statement", statements(refused=True))
def test_it_is_refused(statement: str) -> None:
    with (
        pytest.raises(DatabaseError),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
