"""Whoever ends a service ends all of its processes at once: systemd, a shell's job control."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from pytest_django import DjangoDbBlocker

from config.run.children import BASE_DIR, courier, job_worker, sealer, web_server
from config.run.embedded import free_port
from config.run.scratch import child_environment, scratch_database
from tests.platform.test_supervisor import Run, all_gone
from tests.waiting import HANG_SECONDS, wait_until

# what, and how many processes it starts at least
PROCESSES = {
    "jobs": (job_worker(), 4),  # one that watches two workers, a pusher and a monitor
    "web": (web_server("127.0.0.1", free_port(), workers=1, threads=1), 2),
    "deliver": (courier(), 0),
    "seals": (sealer(), 0),
}


@pytest.fixture(scope="module")
def env(
    pristine_database: str,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, str]]:
    key = tmp_path_factory.mktemp("key") / "seal_key"
    with django_db_blocker.unblock(), scratch_database(pristine_database) as database:
        yield {**os.environ, **child_environment(database, {"SEAL_KEY_FILE": str(key)})}


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


@pytest.mark.parametrize("name", PROCESSES)
def test_a_signal_to_all_of_its_processes_ends_it(env: dict[str, str], name: str) -> None:
    argv, children = PROCESSES[name]
    started = subprocess.Popen(argv, cwd=BASE_DIR, env=env, start_new_session=True)
    try:
        process = psutil.Process(started.pid)
        wait_until(lambda: len(family(process)) > children)
        everyone = family(process)
        os.killpg(started.pid, signal.SIGTERM)
        started.wait(timeout=HANG_SECONDS)
        assert all_gone(everyone)
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)


def test_a_job_over_its_time_is_still_ended(env: dict[str, str]) -> None:
    """The workers do not mind SIGTERM: whoever watches them uses SIGKILL."""
    program = """
import sys, time
import django
django.setup()
from django_q import cluster
from opslog.management.commands.qcluster import Sentinel
watch = Sentinel.__new__(Sentinel)
class Timer: value = 0
class Process:
    timer = Timer()
    def kill(self): print("killed")
cluster.Sentinel.reincarnate = lambda self, process: print("again")
watch.reincarnate(Process())
"""
    env = {**env, "DJANGO_SETTINGS_MODULE": "config.settings"}
    argv = [job_worker()[0], "-c", program]
    ended = subprocess.run(argv, cwd=BASE_DIR, env=env, capture_output=True, text=True)
    assert ended.stdout.split() == ["killed", "again"], ended.stderr


def test_all_of_make_run_at_once(tmp_path: Path) -> None:
    """Its PostgreSQL too: what systemd does to a service."""
    run = Run(tmp_path / "data")
    run.wait_until_open()
    run.wait_until_it_says(f"{run.url}/admin/")
    everyone = [psutil.Process(run.process.pid), *run.family()]
    for process in everyone:
        with suppress(psutil.NoSuchProcess):  # it ended with the one before
            process.terminate()
    run.printed()  # (of what lost its database in the middle of something, too)
    assert all_gone(everyone)
