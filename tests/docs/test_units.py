"""The systemd units start what `make run` starts, and systemd understands them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from config.run import children
from config.run.children import BASE_DIR

UNITS = BASE_DIR / "ops/systemd"
SERVICES = sorted(path.stem for path in UNITS.glob("*.service"))
CODE, PYTHON = "/opt/tollgate", "/opt/tollgate/.venv/bin/python"
WHAT = {
    "tollgate-jobs": children.job_worker(),
    "tollgate-deliver": children.courier(),
    "tollgate-seal": children.sealer(),
}


def values(name: str, key: str) -> list[str]:
    text = (UNITS / f"{name}.service").read_text()
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


@pytest.mark.parametrize("name", WHAT)
def test_it_starts_what_make_run_starts(name: str) -> None:
    assert values(name, "ExecStart") == [" ".join([PYTHON, *WHAT[name][1:]])]


def test_the_web_server_takes_its_numbers_from_the_settings() -> None:
    assert values("tollgate-web", "ExecStart") == [f"{PYTHON} -m config.server"]
    assert values("tollgate-prepare", "ExecStart") == [f"{PYTHON} -m config.run.prepare"]


def test_secrets_are_kept_apart() -> None:
    """The owner's address is for migrations, the sealing key for the sealer, a user of its own."""
    texts = {name: (UNITS / f"{name}.service").read_text() for name in SERVICES}
    owners = [name for name, text in texts.items() if "/etc/tollgate/owner.env" in text]
    assert owners == ["tollgate-prepare"]
    sealers = [name for name, text in texts.items() if "SEAL_KEY" in text]
    assert sealers == ["tollgate-seal"]
    users = {name: values(name, "User") for name in SERVICES}
    assert users.pop("tollgate-seal") == ["tollgate-seal"]
    assert set(map(tuple, users.values())) == {("tollgate",)}


def test_those_that_count_share_a_folder() -> None:
    """It has to be there before they start: the setting is refused otherwise."""
    for name in ("tollgate-web", "tollgate-jobs"):
        assert values(name, "StateDirectory") == ["tollgate/metrics"]
        counts = f"{children.COUNTS}=/var/lib/tollgate/metrics"
        assert counts in values(name, "Environment")


def test_systemd_understands_them(tmp_path: Path) -> None:
    """Where there is one."""
    for path in UNITS.iterdir():
        text = path.read_text()
        text = text.replace(f"{CODE}/.venv", str(BASE_DIR / ".venv")).replace(CODE, str(BASE_DIR))
        (tmp_path / path.name).write_text(text)
    if not shutil.which("systemd-analyze"):
        return
    judged = subprocess.run(
        ["systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (judged.returncode, judged.stderr) == (0, "")
