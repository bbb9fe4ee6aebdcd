"""Runs what depends on the version of PostgreSQL on every one that is here, but the embedded one.

`make test` runs the few tests that are named below on the oldest (`--oldest`); `make test-versions`
runs them on each, or others: ARGS="tests/spending tests/guardrails". `--only=17` before them runs
that version alone, which may be the embedded one's. Exit code 1 where a test fails, or where
17 is not here.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from config.run.children import BASE_DIR
from config.run.embedded import MAJOR
from tests.clusters import Cluster, programs

# What is planned, the storms, and decisions of many asks.
TESTS = (
    "tests/admission/test_reads.py",
    "tests/admission/test_concurrency.py",
    "tests/batches",
    "--ignore=tests/batches/test_gathering_outages.py",  # on a server of its own, of the wheel
)
OLDEST = 15


def main(argv: list[str]) -> int:
    wanted = [each for each in programs() if each >= OLDEST and each != int(MAJOR)]
    only = argv[0] if argv else ""
    if only.startswith("--only="):
        wanted, argv = [int(only.removeprefix("--only="))], argv[1:]
        if wanted[0] not in programs():
            print(f"no PostgreSQL {wanted[0]} is installed")
            return 1
    elif OLDEST not in programs():
        print(f"left out: no PostgreSQL {OLDEST} is installed (Debian 12: postgresql-{OLDEST})")
    if argv == ["--oldest"]:
        wanted, argv = [each for each in wanted if each == OLDEST], []
    failed = 0
    for major in wanted:
        print(f"PostgreSQL {major}:", flush=True)
        failed |= run_on(major, argv or list(TESTS))
    return failed


def run_on(major: int, tests: list[str]) -> int:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    folder = Path(tempfile.mkdtemp(prefix=f"tollgate-{major}-", dir=memory))
    cluster = Cluster(major, folder / "cluster", {"max_connections": 200})
    try:
        cluster.make()
        env = os.environ | {
            "DATABASE_URL": cluster.url("tollgate_app", "tollgate"),
            "TOLLGATE_OWNER_DATABASE_URL": cluster.url("tollgate_owner", "tollgate"),
        }
        pytest = [sys.executable, "-m", "pytest", "-q", "-n", os.environ.get("TEST_WORKERS", "2")]
        argv = [*pytest, "--dist", "loadfile", *tests]
        return int(subprocess.run(argv, cwd=BASE_DIR, env=env, check=False).returncode != 0)
    finally:
        if cluster.process:
            cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
