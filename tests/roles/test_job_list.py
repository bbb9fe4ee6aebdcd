"""The job worker runs what is on its list, whatever stands in its table."""

import importlib
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection, transaction
from django_q.models import OrmQ
from django_q.signing import SignedPackage
from django_q.tasks import async_task
from pytest_django import Settings

from config import checks
from config.job_list import ListedJobs, why_not
from config.run.children import BASE_DIR
from config.run.privileges import ProcessUser
from config.run.scratch import scratch_service
from config.schedules import JOBS
from opslog.models import Heartbeat, OperationsEvent
from tests.platform.running import Run
from tests.waiting import wait_until

JOB = "opslog.tasks.watch_processes"
CODE = ("config", "opslog", "workorders", "budgets")


def test_the_list_has_all_that_is_enqueued() -> None:
    named = set()
    for folder in CODE:
        for file in (BASE_DIR / folder).rglob("*.py"):
            named |= set(
                re.findall(r'"((?:opslog|budgets|workorders)\.tasks\.\w+)"', file.read_text())
            )
    assert named == JOBS


@pytest.mark.parametrize("task", sorted(JOBS))
def test_each_of_the_list_is_there(task: str) -> None:
    module, name = task.rsplit(".", 1)
    assert callable(getattr(importlib.import_module(module), name))


def test_each_of_the_list_is_run_by_a_test() -> None:
    texts = [file.read_text() for file in (BASE_DIR / "tests").rglob("*.py")]
    run = {name for text in texts for name in re.findall(r"\b([a-z_]+)\(\)", text)}
    assert {task.rpartition(".")[2] for task in JOBS} - run == set()


def test_a_job_that_cannot_be_run_stops_every_start(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.jobs_can_be_run() == []
    gone = {f"budgets.tasks.{name}" for name in ("gone", "BATCH")} | {"budgets.nowhere.tidy"}
    monkeypatch.setattr(checks, "JOBS", frozenset({*JOBS, *gone}))
    found = checks.jobs_can_be_run()
    assert {(each.id, each.msg.split()[0]) for each in found} == {
        ("config.E068", task) for task in gone
    }


@pytest.mark.parametrize(("timeout", "fits"), [(299, True), (300, False), (301, False)])
def test_no_job_is_handed_out_again_while_it_may_run(
    settings: Settings, timeout: int, fits: bool
) -> None:
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "timeout": timeout, "retry": 300}
    assert [each.id for each in checks.jobs_can_be_run()] == ([] if fits else ["config.E069"])


@pytest.mark.parametrize(
    "task",
    [
        {"func": "os.system"},
        {"func": "os.system", "args": ("id",)},
        {"func": "opslog.tasks"},
        {"func": "opslog.tasks.watch_processes.__globals__"},
        {"func": "opslog.tasks.settings"},
        {"func": f" {JOB}"},
        {"func": JOB.upper()},
        {"func": None},
        {"func": print},
        {"func": JOB, "args": ("x",)},
        {"func": JOB, "kwargs": {"x": 1}},
        {"func": JOB, "hook": "os.system"},
        {"func": JOB, "chain": [("os.system", ("id",))]},
        {},
    ],
)
def test_what_is_not_run(task: dict[str, Any]) -> None:
    assert why_not(task)


def test_what_is_run() -> None:
    assert why_not({"func": JOB, "args": (), "kwargs": {}}) == ""


def test_it_is_taken_out_of_the_table_with_an_event(committed_db: str) -> None:
    async_task(JOB)
    async_task("os.system", "id")
    OrmQ.objects.create(key="tollgate", payload="not signed", lock="2020-01-01T00:00Z")
    OrmQ.objects.update(lock="2020-01-01T00:00Z")
    taken = [row for _ in range(3) for row in ListedJobs("tollgate").dequeue() or []]
    assert [SignedPackage.loads(payload)["func"] for _, payload in taken] == [JOB]
    assert OrmQ.objects.count() == 1
    events = OperationsEvent.objects.filter(kind="JOB_REFUSED").order_by("id")
    assert [each.owner_id for each in events] == ["os.system", "unknown"]
    assert "is not signed" in events[1].message


def test_two_waiting_jobs_of_one_kind_are_merged(committed_db: str) -> None:
    for _ in range(60):
        async_task(JOB)
    async_task("budgets.tasks.tell_alerts")
    assert OrmQ.objects.count() == 2
    first = ListedJobs("tollgate").dequeue()
    assert first is not None
    assert SignedPackage.loads(first[0][1])["func"] == JOB
    # The one that is being worked on has begun already: it may not see what is new.
    async_task(JOB)
    assert OrmQ.objects.count() == 3


def test_a_job_of_an_open_transaction_waits_for_its_commit(committed_db: str) -> None:
    """Touched, not doubled; and the worker does not wait for the transaction."""
    async_task(JOB)
    taken: list[Any] = []

    def work() -> None:
        taken.extend(ListedJobs("tollgate").dequeue() or [None])
        connection.close()

    with transaction.atomic():
        async_task(JOB)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert taken == [None]
    assert OrmQ.objects.count() == 1


def test_the_cluster_shows_that_it_lives_whatever_its_workers_do(committed_db: str) -> None:
    ListedJobs("tollgate").set_stat("key", "value", 3)
    assert Heartbeat.objects.filter(name="worker").exists()


def test_settings_name_the_list() -> None:
    assert settings.Q_CLUSTER["broker_class"] == "config.job_list.ListedJobs"


def test_the_worker_does_not_even_import_it(tmp_path: Path, pristine_database: str) -> None:
    """As a row of the owner's schedules would have it run: the strongest that a table can say."""
    (tmp_path / "poison.py").write_text(
        f"open({str(tmp_path / 'imported')!r}, 'w').close()\ndef run(): pass\n"
    )
    env = {"PYTHONPATH": str(tmp_path), "LOG_LEVEL": "INFO"}
    with (
        scratch_service(jobs=True, workers=1, env=env, template=pristine_database) as service,
        psycopg.connect(service.owner_url, autocommit=True) as owner,
    ):
        for name, func in (("x", "poison.run"), ("y", JOB)):
            task = {"id": name, "name": name, "func": func, "args": (), "kwargs": {}}
            owner.execute(
                "INSERT INTO django_q_ormq (key, payload, lock) VALUES ('tollgate', %s, now())",
                [SignedPackage.dumps({**task, "ack_failure": True})],
            )
        wait_for(owner, "SELECT 1 FROM operations_events WHERE kind = 'JOB_REFUSED'")
        wait_for(owner, "SELECT 1 FROM heartbeats WHERE name = 'worker'")
    assert not (tmp_path / "imported").exists()


def wait_for(db: "psycopg.Connection[Any]", query: str) -> None:
    wait_until(lambda: db.execute(query).fetchone(), query)


def test_who_gets_which_secret(tmp_path: Path) -> None:
    """`make run`: the sealer has the key, and the web server and the job worker have neither it nor
    the owner's address, and as root are another user."""
    run = Run(tmp_path / "data", SEAL_WEBHOOK_URL="https://heads.example/secret")
    try:
        run.wait_until_open()
        named = {" ".join(each.cmdline()): each for each in run.family()}

        def of(word: str) -> list[Any]:
            return [each for line, each in named.items() if word in line]

        assert of("seal_events --forever")
        assert of("deliver_messages --forever")
        for process in [*of("config.server"), *of("qcluster"), *of("deliver_messages")]:
            environ = process.environ()
            assert not {"SEAL_KEY", "SEAL_WEBHOOK_URL", "TOLLGATE_OWNER_DATABASE_URL"} & set(
                environ
            )
            assert "tollgate_owner" not in str(environ)
        assert of("seal_events")[0].environ()["SEAL_WEBHOOK_URL"]
        assert of("seal_events")[0].uids().real == os.geteuid()
        user = ProcessUser.choose(
            Path(sys.executable), BASE_DIR / "config", BASE_DIR / ".static"
        ).uid
        expected = os.geteuid() if user is None else user
        for process in [*of("config.server"), *of("qcluster")]:
            assert process.uids().real == expected
        with psycopg.connect((tmp_path / "data" / "app_url").read_text(), autocommit=True) as app:
            wait_for(app, "SELECT 1 FROM heartbeats WHERE name = 'sealer'")
            wait_for(app, "SELECT 1 FROM seals")
        assert (tmp_path / "data" / "seal_key").stat().st_mode & 0o777 == 0o600
    finally:
        run.process.terminate()
        run.printed()


def test_as_root_the_application_is_somebody_who_cannot_read_the_key(tmp_path: Path) -> None:
    key = tmp_path / "seal_key"
    key.touch(0o600)
    hidden = tmp_path / "clone"
    hidden.mkdir(0o700)
    user = ProcessUser.choose(Path("/bin/sh"))
    assert ProcessUser.choose(hidden).uid is None  # nothing would run from there
    if os.geteuid() != 0:
        assert user.uid is None  # an ordinary user has nobody else to be
        return
    assert user.uid
    argv = ["/bin/sh", "-c", f"cat {key}"]
    result = subprocess.run(
        argv, user=user.uid, group=user.gid, extra_groups=[], capture_output=True
    )
    assert b"Permission denied" in result.stderr
