"""Whatever the schema allows, and much that it does not, and sequences of it: no 5xx, no answer
that the schema does not tell of."""

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from pytest_django import DjangoDbBlocker

from budgets import approvals
from tests import factories
from tests.api.harness import Api

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
    "use_after_free",
    "negative_data_rejection",
)


def session_headers(api: Api, blocker: DjangoDbBlocker) -> list[str]:
    """Of somebody who may do everything that people do here, with a request to do it to."""
    with factories.inside(api.service.database, blocker):
        person = factories.make_user("approver", groups=["operations", "director"])
        factories.make_work_order("small")
        asker = factories.make_user("asker", groups=["operations"])
        approvals.ask(
            "small",
            new={"usd_per_day": Decimal(9)},
            justification="x",
            expected_cost_impact="$1 a day",
            by=asker,
        )
        session = SessionStore()
        session[SESSION_KEY] = str(person.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = person.get_session_auth_hash()
        session.create()
    secret = "a" * 32
    return [
        f"Cookie: sessionid={session.session_key}; csrftoken={secret}",
        f"X-CSRFToken: {secret}",
    ]


@pytest.mark.parametrize("who", ["token", "person"])
def test_no_server_error_and_nothing_undocumented(
    api: Api, tmp_path: Path, who: str, django_db_blocker: DjangoDbBlocker
) -> None:
    """In a folder of its own, where it may keep what it finds."""
    argv = [sys.executable, "-m", "schemathesis.cli", "run", f"{api.service.url}/api/schema"]
    if who == "token":
        argv += ["--header", f"Authorization: Bearer {api.tokens['all']}"]
    else:
        for header in session_headers(api, django_db_blocker):
            argv += ["--header", header]
        argv += ["--include-path-regex", "^/api/cap-changes"]
        # The header has the cookie in any case, so none can be left out as bad data.
        argv += ["--generation-with-security-parameters", "false"]
    argv += ["--seed", "1"]
    argv += ["--checks", ",".join(CHECKS), "--max-examples", "10"]
    argv += ["--no-color"]
    found = subprocess.run(
        argv, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
    assert api.errors() == []
