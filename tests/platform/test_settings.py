"""A wrong setting is one line before anything starts, and an error of `manage.py check`."""

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from config import environment as forms
from config.checks import IDS
from config.run.children import BASE_DIR
from config.run.database_url import FORM

SECRET = "hush-hush"
NETWORKS = (
    ["", "10.0.0.0/8", "10.0.0.1", "10.0.0.0/8, 2001:db8::/32", "::1/128,"],
    ["a", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/8;::1", "fe80::1%eth0/64x", "*"],
)
# name → (good, wrong)
VALUES: dict[str, tuple[list[str], list[str]]] = {
    "SESSION_MAX_HOURS": (["1", "720"], ["0", "721", "-1", "long"]),
    "SESSION_IDLE_MINUTES": (["1", "1440"], ["0", "1441", "-1", "never"]),
    "CONFIRM_MINUTES": (["1", "60"], ["0", "61", "5.5"]),
    "OIDC_ISSUER": (["", "https://id.example/realms/a"], ["id.example", "ldap://id.example"]),
    "OIDC_GROUPS": (
        ["", "a=operations", "a=vp, b=finance"],
        ["operations", "=vp", "a=", "a=vp;b=finance,c", "a=boss", "cn=a,b=vp"],
    ),
    "RETRY_AFTER": (
        ["1", "86400", "midnight", ""],
        ["0", "-1", "1.5", "noon", "Midnight", "1_0", "١", "9" * 30],
    ),
    "TRUSTED_PROXIES": NETWORKS,
    "METRICS_NETWORKS": NETWORKS,
    "CONCURRENT_RUNS": (["1", "2", "10000"], ["0", "10001", "-1", "two", "2.5"]),
    "CONFIRM_OVER_USD": (
        ["0", "5", "5.00", "0.000000001", "1000000"],
        ["-1", "1e4", "NaN", "Infinity", "$5", "5,00", "1_0", "1000000.01", "five"],
    ),
    "LEASE_SECONDS": (["1", "900", "86400"], ["0", "-1", "86401", "1.5", "soon", "1_0"]),
    "REFUSAL_EVENTS_PER_SECOND": (["1", "20", "200"], ["0", "-1", "201", "1.5", "many", "2_0"]),
    "DATABASE_TIMEOUT": (
        ["0.2", "2.5", "2.9", "1"],
        ["0", "0.19", "2.91", "3", "-1", "nan", "inf", "2,5", "2.5s"],
    ),
    "LOG_LEVEL": (["INFO", "warning", "DEBUG"], ["LOUD", "20", "NOTSET", "INFO,DEBUG"]),
    "NOTIFY_URLS": (
        ["", "json://example.org/", "json://example.org/,jsons://example.net/a,b"],
        [SECRET, f"nosuch://{SECRET}", f"json://example.org/,nosuch://{SECRET}", "slack://"],
    ),
    "EMAIL_URL": (
        ["", "smtp://mail.example", f"smtp+tls://me:{SECRET}@mail.example:587", "consolemail://"],
        [SECRET, f"mail://{SECRET}@h", f"smtp://me:{SECRET}@h:port", "smtp://", "smtp://[::1"],
    ),
    "WEB_WORKERS": (["1", "64"], ["0", "65", "-1", "two"]),
    "WEB_THREADS": (["1", "256"], ["0", "257", "-1", "two"]),
    "PAGE_WORKERS": (["1", "64"], ["0", "65", "-1", "two"]),
    "REQUEST_TIMEOUT": (["", "0.2", "10", "120"], ["0", "121", "-1", "1e1"]),
    "CONNECTIONS_PER_ADDRESS": (["1", "8192"], ["0", "8193", "-1", "many"]),
    "JOB_WORKERS": (["1", "64"], ["0", "65", "-1", "two"]),
    "ENVIRONMENT": (["", "production", "eu-west-2"], ["Production", "2nd", "a b", "x" * 41]),
    "LLM_BUDGET_DAILY_USD": (["", "20", "20.50"], ["-1", "1e4", "NaN", "$20", "1000001"]),
    "LLM_BUDGET_HARD_LIMIT_USD": (["", "50", "0"], ["-1", "1e4", "NaN", "$50", "1000001"]),
    "LLM_BUDGET_HOUR_USD": (["", "10", "2.50"], ["-1", "1e4", "NaN", "$10", "1000001"]),
    "LLM_BUDGET_MINUTE_USD": (["", "5", "1.00"], ["-1", "1e4", "NaN", "$5", "1000001"]),
    "REDIS_URL": (
        ["", "redis://127.0.0.1:6379/0", f"rediss://:{SECRET}@cache.example", "unix:///run/r.sock"],
        [SECRET, f"http://:{SECRET}@cache.example", "redis://", "cache.example:6379"],
    ),
    "SENTRY_DSN": (
        ["", f"https://{SECRET}@sentry.example/4"],
        [SECRET, f"{SECRET}@sentry.example/4", "sentry.example"],
    ),
    "SEAL_KEY": (["", "0f" * 32, "0F" * 32], [SECRET, "0f" * 31, "0g" * 32]),
    "SEAL_WEBHOOK_URL": (
        ["", "https://heads.example/abc"],
        [f"ftp://{SECRET}", "heads.example/abc", "https://"],
    ),
    "HEALTHCHECK_URL": (
        ["", "https://pings.example/abc"],
        [f"ftp://{SECRET}", "pings.example/abc", "https://"],
    ),
    "PORT": (["", "1", "8000", "65535"], ["0", "65536", "abc", "-1", "80 80"]),
    "DOOR_PORT": (["", "0", "8001", "65535"], ["65536", "api", "-1"]),
    "HOST": (["", "10.0.0.5", "::", "tollgate.example"], ["http://10.0.0.5", "a b", "a/b"]),
    "BASE_URL": (
        ["", "https://tollgate.example", "http://127.0.0.1:8000/t/"],
        ["hello", "tollgate.example", "https://", "ftp://tollgate.example", "https://a b"],
    ),
    "ALLOWED_HOSTS": (
        ["", "tollgate.example", ".example.org, 10.0.0.5", "[::1]", "*"],
        ["https://tollgate.example", "tollgate.example:443", "a b", ",", "a/b"],
    ),
    "CSRF_TRUSTED_ORIGINS": (
        ["", "https://tollgate.example", "https://*.example.org,http://10.0.0.5:8080"],
        ["tollgate.example", "https://tollgate.example/", "https://a b", "*"],
    ),
    "MFA_GROUPS": (["", "vp", "operations, vp"], ["operatons", "vp;finance", "vp,boss"]),
    "DEFAULT_FROM_EMAIL": (
        ["", "tollgate@example.org", "Tollgate <tollgate@example.org>"],
        ["tollgate", "@example.org", "a b"],
    ),
    "EVENT_RETENTION_DAYS": (["", "0", "7", "36500"], ["6", "-1", "36501", "90 days", "7.5"]),
}
# A boolean that is none must not be taken for “off”, nor for “on”.
FLAGS = (
    ["", "1", "0", "true", "False", "yes", "no", "on", "OFF"],
    ["enabled", "2", "-", "y e s", "ture", "01"],
)
VALUES |= dict.fromkeys(
    (
        *("DEBUG", "HTTPS", "PGBOUNCER", "REQUIRE_MFA", "NOTIFY_PRIVATE_NETWORKS", "LOG_JSON"),
        *("LIFT_ESTIMATES", "EARLY_LOCK_RELEASE", "DEMO", "DEMO_TRAFFIC"),
    ),
    FLAGS,
)
# The lines about all these: read in one process, since a start of Python for each costs minutes.
PROGRAM = """
import importlib, json, os, sys
import django
django.setup()
from config import settings
from config.checks import settings_have_their_form
from django.conf import settings as used
found = []
for name, value in json.load(sys.stdin):
    os.environ[name] = value
    importlib.reload(settings)
    used.TOLLGATE_NOTIFY_SECRET_URLS = settings.TOLLGATE_NOTIFY_SECRET_URLS
    found.append([[each.id, each.msg, each.hint] for each in settings_have_their_form()])
    del os.environ[name]
print(json.dumps(found))
"""


def run(argv: list[str], text: str = "", **env: str) -> "subprocess.CompletedProcess[str]":
    lines_read = {"DJANGO_SETTINGS_MODULE": "config.settings", **os.environ, **env}
    return subprocess.run(
        [sys.executable, *argv],
        cwd=BASE_DIR,
        env=lines_read,
        input=text,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def lines_read() -> dict[tuple[str, str], Any]:
    asked = [(name, text) for name, kinds in VALUES.items() for kind in kinds for text in kind]
    result = run(["-c", PROGRAM], json.dumps(asked))
    assert result.returncode == 0, result.stderr
    assert SECRET not in result.stdout + result.stderr
    return dict(zip(asked, json.loads(result.stdout), strict=True))


@pytest.mark.parametrize(
    ("name", "text"), [(n, t) for n, (good, _) in VALUES.items() for t in good]
)
def test_good_values(lines_read: dict[tuple[str, str], Any], name: str, text: str) -> None:
    assert lines_read[name, text] == []


@pytest.mark.parametrize(("name", "text"), [(n, t) for n, (_, bad) in VALUES.items() for t in bad])
def test_wrong_values(lines_read: dict[tuple[str, str], Any], name: str, text: str) -> None:
    [(number, line, hint)] = lines_read[name, text]
    assert number == IDS[name]
    assert line.startswith(name)
    assert "\n" not in line
    assert hint


def test_every_setting_with_a_form_has_a_stable_id() -> None:
    assert set(IDS) == set(VALUES)
    assert len(set(IDS.values())) == len(IDS)


def test_a_default_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_WORKERS", "many")
    assert forms.take("WEB_WORKERS", default="2", form=forms.whole(1, 64)) == 2
    assert forms.PROBLEMS.pop("WEB_WORKERS").line == (
        "WEB_WORKERS must be a number from 1 to 64, not 'many'."
    )


def wrong_everywhere() -> dict[str, str]:
    return {name: wrong[0] for name, (_, wrong) in VALUES.items()}


def test_check_tells_all_at_once() -> None:
    result = run(["manage.py", "check"], **wrong_everywhere())
    assert result.returncode == 1
    assert re.findall(r"config\.E\d+", result.stderr) == sorted(IDS.values())
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("argv", [["-m", "config.run.prepare"], ["-c", "import config.wsgi"]])
def test_nothing_starts(argv: list[str]) -> None:
    result = run(argv, RETRY_AFTER="noon", NOTIFY_URLS=f"nosuch://{SECRET}")
    assert result.returncode != 0
    assert result.stderr.removeprefix("tollgate: ") == (
        "A setting is wrong: NOTIFY_URLS: apprise does not understand address 1.\n"
        "A setting is wrong: RETRY_AFTER must be a positive number of seconds, or midnight, "
        "not 'noon'.\n"
    )


@pytest.mark.parametrize(
    "argv",
    [
        ["manage.py", "shell", "-c", "print('did')"],  # it skips the system checks
        ["manage.py", "stamp_environment", "x", "--reason", "a test"],
        ["manage.py", "migrate", "--database", "owner", "--skip-checks"],
        ["-m", "config.server"],
        ["-m", "config.run.prepare"],
    ],
)
@pytest.mark.parametrize(
    ("name", "text"), [("HTTPS", "enabled"), ("REQUIRE_MFA", "ture"), ("PORT", "abc")]
)
def test_nothing_runs_on_a_wrong_setting(argv: list[str], name: str, text: str) -> None:
    result = run(argv, **{name: text})
    assert result.returncode != 0
    line = rf"(tollgate: )?A setting is wrong: {name} must be .*, not '{text}'\.\n"
    assert re.fullmatch(line, result.stderr)
    assert "did" not in result.stdout


@pytest.mark.parametrize("argv", [["manage.py", "showmigrations"], ["-m", "config.server"]])
@pytest.mark.parametrize(
    ("env", "line"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY must be set when DATABASE_URL is set."),
        (
            {"DATABASE_URL": SECRET},
            f"DATABASE_URL must name a PostgreSQL ({FORM}); it has no scheme.",
        ),
        (
            {"TOLLGATE_OWNER_DATABASE_URL": f"mysql://me:{SECRET}@h/db"},
            f"TOLLGATE_OWNER_DATABASE_URL must name a PostgreSQL ({FORM}); it has “mysql”.",
        ),
        (
            {"PROMETHEUS_MULTIPROC_DIR": "/nowhere"},
            "PROMETHEUS_MULTIPROC_DIR must be a folder that exists.",
        ),
    ],
)
def test_what_breaks_the_import_is_one_line(
    argv: list[str], env: dict[str, str], line: str
) -> None:
    result = run(argv, **env)
    assert result.returncode != 0
    assert result.stderr == f"tollgate: {line}\n"


def test_a_host_that_is_not_ours_is_one_line() -> None:
    result = run(["-m", "config.server", "--port", "0"], HOST="nowhere.invalid")
    assert result.returncode == 2  # of the port
    result = run(["-m", "config.server", "--port", "1"], HOST="nowhere.invalid")
    assert result.stderr.splitlines()[-1] == (
        "tollgate: HOST nowhere.invalid is not an address of this machine"
    )
