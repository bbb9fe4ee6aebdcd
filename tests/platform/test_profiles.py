"""The two environment profiles: what a first migration makes of each."""

import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from config.run.children import BASE_DIR
from config.run.scratch import child_environment, owner_sql, with_database

ROOT = Path(__file__).resolve().parents[2]
LIMITS = """
SELECT "window" || ' ' || measure, amount, warning_amount FROM budgets
WHERE scope = 'global' AND amount IS NOT NULL
"""


def profile(name: str) -> dict[str, str]:
    text = (ROOT / f".env.{name}").read_text()
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        (
            "development",
            {
                "open runs": ("2", "2"),
                "rolling_minute usd": ("1", "1"),
                "rolling_hour usd": ("2", None),
                "day usd": ("5", "2"),
            },
        ),
        (
            "production",
            {
                "open runs": ("20", "5"),
                "rolling_minute usd": ("5", "2"),
                "rolling_hour usd": ("10", None),
                "day usd": ("50", "20"),
            },
        ),
    ],
)
def test_first_values(name: str, limits: dict[str, tuple[str, str | None]]) -> None:
    database = f"tollgate_profile_{name}_{os.getpid()}"
    owner_sql("CREATE DATABASE {}", database)
    try:
        migrate = [sys.executable, "manage.py", "migrate", "--database", "owner", "-v", "0"]
        environment = {**os.environ, **child_environment(database, profile(name))}
        subprocess.run(migrate, cwd=BASE_DIR, env=environment, check=True)
        with psycopg.connect(with_database(settings.APP_URL, database)) as db:
            found = {what: (amount, warns) for what, amount, warns in db.execute(LIMITS)}
            stamped = db.execute("SELECT environment FROM deployment").fetchall()
    finally:
        owner_sql("DROP DATABASE {} WITH (FORCE)", database)
    wanted = {
        what: (Decimal(amount), None if warns is None else Decimal(warns))
        for what, (amount, warns) in limits.items()
    }
    assert found == wanted
    assert stamped == [(name,)]


def test_they_name_settings_that_there_are() -> None:
    known = set(re.findall(r"^#([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    for name in ("development", "production"):
        assert profile(name).keys() <= known
    assert profile("development").keys() - {"ENVIRONMENT"} <= profile("production").keys()
