"""Every shell command of the README and the how-tos does what is printed beside it."""

import json
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml

from config.run.children import BASE_DIR
from config.run.data_folder import DataFolder
from config.run.embedded import EmbeddedPostgres, free_port
from tests.docs import shell
from tests.waiting import HANG_SECONDS, wait_until

HOW_TOS = sorted(
    path.relative_to(BASE_DIR).as_posix() for path in BASE_DIR.glob("docs/how-to/*.md")
)
RUN_HERE = {f"docs/how-to/{name}.md" for name in (
    "approve-over-http", "choose-an-estimate", "monitoring", "production", "test-in-ci"
)}  # fmt: skip


@dataclass
class Demo:
    """A `make run` in a fresh copy."""

    copy: Path
    env: dict[str, str]
    lines: list[str]

    def password(self, name: str) -> str:
        return next(
            line.split("│")[2].strip() for line in self.lines if line.startswith(f"│ {name} ")
        )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One server for all: the README's first command."""
    copy = shell.fresh_copy(tmp_path_factory.mktemp("clone") / "tollgate")
    env = shell.environment(copy, PORT=str(free_port()), DEMO_TRAFFIC="0")
    assert "make run " in shell.fences("README.md", "## Two commands")[0].text
    process = subprocess.Popen(
        ["make", "run"],
        cwd=copy,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []

    def read() -> None:
        lines.extend(process.stdout or ())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        wait_until(lambda: any("/admin/" in line for line in lines) or process.poll(), lines)
        yield Demo(copy, env, lines)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=HANG_SECONDS)
        reader.join(timeout=HANG_SECONDS)


def test_every_how_to_runs_somewhere() -> None:
    assert set(HOW_TOS) == RUN_HERE
    for page in ["README.md", *HOW_TOS]:
        for fence in shell.fences(page):
            assert fence.language in ("sh", "sql", "json", "yaml", "python", ""), page
            assert fence.language == "sh" or not fence.why_not


def shape(value: object) -> object:
    """Names and kinds, not the values."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    return "number" if isinstance(value, int | float) else type(value).__name__


def test_the_tutorial(demo: Demo) -> None:
    """What each command answers is what is printed below it."""
    begin, end = "## A first start, and a first refusal", "## From Python"
    printed = [
        fence.text for fence in shell.fences("README.md", begin, end) if fence.language != "sh"
    ]
    answers = shell.run(shell.runnable("README.md", begin, end), demo.copy, demo.env)
    assert len(answers) == len(printed) == 4
    registered, started, refused, finished = answers
    for answer, sample in zip(
        (registered, started, finished), (*printed[:2], printed[3]), strict=True
    ):
        assert shape(json.loads(answer)) == shape(json.loads(sample))
    head, _, body = refused.replace("\r", "").partition("\n\n")
    wanted, _, sample = printed[2].partition("\n\n")
    assert body.strip() == sample.strip()
    names = {line.partition(":")[0].lower() for line in wanted.splitlines()[1:]}
    assert head.splitlines()[0] == wanted.splitlines()[0]
    assert names <= {line.partition(":")[0].lower() for line in head.splitlines()}
    assert "tollgate-denial: usd_per_day" in head.lower()


def test_the_python_client(demo: Demo) -> None:
    (program,) = [
        fence.text
        for fence in shell.fences("README.md", "## From Python")
        if fence.language == "python"
    ]
    before = (
        "import sys\nsys.path.insert(0, 'client/python')\ndef write_report(): return 'a report'\n"
    )
    token = ".venv/bin/python manage.py create_token python --scope start"
    given = f"TOLLGATE_AGENT=a TOLLGATE_URL=http://127.0.0.1:$PORT TOLLGATE_TOKEN=$({token})"
    block = f"{given} .venv/bin/python - <<'END'\n{before}{program}END\n"
    (printed,) = shell.run([block], demo.copy, demo.env)
    assert printed == ""  # admitted and settled: the refusal would be printed


def test_a_replay(demo: Demo) -> None:
    (printed,) = shell.run(
        shell.runnable("README.md", "## Replaying real traffic", "## Settings"), demo.copy, demo.env
    )
    assert re.search(r"over the caps\W+none", printed)


def test_approving_over_http(demo: Demo) -> None:
    listing = ".venv/bin/python manage.py cap_changes --status pending --json"
    (listed,) = shell.run([f"{listing} --work-order sales-briefings"], demo.copy, demo.env)
    env = {
        **demo.env,
        "TOLLGATE": f"http://127.0.0.1:{demo.env['PORT']}",
        "NAME": "director",
        "PASSWORD": demo.password("director"),
        "REQUEST": str(json.loads(listed)["id"]),
    }
    blocks = shell.runnable("docs/how-to/approve-over-http.md")
    listed, decided = shell.run(blocks, demo.copy, env)
    assert env["REQUEST"] in {str(each["id"]) for each in json.loads(listed)["results"]}
    assert json.loads(decided)["status"] == "applied"
    out = [line for line in blocks[1].splitlines() if "logout" in line]
    ask = 'call "$TOLLGATE/api/cap-changes" > /dev/null && echo "signed in" || echo "signed out"'
    *_, last = shell.run([blocks[0], "\n".join([*out, ask])], demo.copy, env)
    assert last == "signed out\n"


def test_choosing_an_estimate(demo: Demo) -> None:
    (token,) = shell.run(
        [".venv/bin/python manage.py create_token estimate --scope start --scope read"],
        demo.copy,
        demo.env,
    )
    env = {
        **demo.env,
        "API": f"http://127.0.0.1:{demo.env['PORT']}/api",
        "TOKEN": token.strip(),
        "WORK_ORDER": "sales-briefings",
    }
    tried, usage = shell.run(shell.runnable("docs/how-to/choose-an-estimate.md"), demo.copy, env)
    assert json.loads(tried)["decision"] == "admit"
    assert json.loads(usage)["calibration"]["settledRuns"] > 0


def test_monitoring(demo: Demo) -> None:
    env = {**demo.env, "TOLLGATE": f"http://127.0.0.1:{demo.env['PORT']}"}
    (scraped,) = shell.run(shell.runnable("docs/how-to/monitoring.md"), demo.copy, env)
    assert scraped == "tollgate_database_up 1.0\n"


def test_alert_rules_name_metrics_that_there_are() -> None:
    rules = yaml.safe_load((BASE_DIR / "ops/prometheus/alerts.yml").read_text())
    page = (BASE_DIR / "docs/reference/metrics.md").read_text()
    known = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    named = set()
    for rule in rules["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        named |= set(re.findall(r"tollgate_\w+", rule["expr"].replace("_bucket", "")))
    assert named <= known
    assert len(named) > 12
    (scrape,) = [
        yaml.safe_load(fence.text)
        for fence in shell.fences("docs/how-to/monitoring.md")
        if fence.language == "yaml"
    ]
    assert scrape["scrape_configs"][0]["metrics_path"] == "/metrics"


def test_in_ci(tmp_path: Path) -> None:
    copy = shell.fresh_copy(tmp_path / "tollgate")
    blocks = shell.runnable("docs/how-to/test-in-ci.md")
    port = free_port()
    blocks[0] = blocks[0].replace("PORT=8900", f"PORT={port}")
    made, tried, gone = shell.run(blocks, copy, shell.environment(copy))
    assert json.loads(made.splitlines()[-1])["id"] == "under-test"
    assert tried.split() == ["201", "429"]
    assert gone.endswith("nothing is admitted\n")
    assert not (copy / ".tollgate-ci").exists()


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[str]:
    """The address of a superuser of a server on which there is nothing of ours."""
    server = EmbeddedPostgres(DataFolder(tmp_path / "server"), fast=True)
    server.start()
    try:
        passwords = json.loads((tmp_path / "server/passwords.json").read_text())
        address = urlsplit(server.folder.owner_url())
        host = f"postgres:{passwords['postgres']}@{address.hostname}:{address.port}"
        url = address._replace(netloc=host, path="/postgres").geturl()
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("DROP DATABASE tollgate WITH (FORCE)")
            for role in ("tollgate_app", "tollgate_owner"):
                admin.execute(f"DROP OWNED BY {role}")
                admin.execute(f"DROP ROLE {role}")
        yield url
    finally:
        server.stop()


def test_production(own_postgres: str, tmp_path: Path) -> None:
    """From nothing to a restore that has passed its drill, on a PostgreSQL of one's own."""
    page = "docs/how-to/production.md"
    copy = shell.fresh_copy(tmp_path / "tollgate")
    seals = tmp_path / "seals"
    seals.mkdir()

    def address(role: str, database: str) -> str:
        parts = urlsplit(own_postgres)
        where = f"{role}:word-of-{role}@{parts.hostname}:{parts.port}"
        return parts._replace(netloc=where, path=f"/{database}").geturl()

    (settings,) = [
        fence.text
        for fence in shell.fences(page, "## The settings", "## Start")
        if "SECRET_KEY" in fence.text
    ]
    profile = (copy / ".env.production").read_text()
    file = dict(re.findall(r"^([A-Z_]+)=(.*)$", profile + settings, re.MULTILINE))
    addresses = {
        "ADMIN_URL": own_postgres,
        "OWNER_PASSWORD": "word-of-tollgate_owner",
        "APP_PASSWORD": "word-of-tollgate_app",
        "OWNER_URL": address("tollgate_owner", "tollgate"),
        "SEAL_DIR": str(seals),
        "RESTORED_URL": address("tollgate_app", "restored"),
        "RESTORED_OWNER_URL": address("tollgate_owner", "restored"),
    }
    env = shell.environment(copy, **addresses)
    shell.run(shell.runnable(page, "## The database", "## The settings"), copy, env)
    env |= file
    env |= {
        "DATABASE_URL": address("tollgate_app", "tollgate"),
        "SECRET_KEY": "mT7-x" * 12,
        "EMAIL_URL": "",
    }
    # What the units do (see `test_units.py`).
    keys = {
        "SEAL_KEY_FILE": str(seals / "seal_key"),
        "SEAL_HEADS_FILE": str(seals / "seal_heads.jsonl"),
    }
    prepare = [".venv/bin/python -m config.run.prepare"]
    shell.run(prepare, copy, {**env, "TOLLGATE_OWNER_DATABASE_URL": addresses["OWNER_URL"]})
    people = shell.runnable(page, "## First people and prices", "## Check")
    (printed,) = shell.run(people, copy, env)
    assert "https://tollgate.example/admin/account-link/" in printed
    shell.run([".venv/bin/python manage.py seal_events"], copy, {**env, **keys})
    shell.run(shell.runnable(page, "## Check", "## Backup"), copy, env)
    shell.run(shell.runnable(page, "## Backup", "## Upgrade"), copy, env)
    with psycopg.connect(addresses["RESTORED_URL"]) as restored:
        assert restored.execute("SELECT environment FROM deployment").fetchone() == ("drill",)
        users = restored.execute("SELECT username FROM auth_user").fetchall()
    assert users == [("jane",)]
