"""The shell around it: an unsupported Python, and nothing that names a package host."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from config.run.children import BASE_DIR


def test_unsupported_python_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(BASE_DIR / ".ci/environment", tmp_path / ".ci/environment")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "dirname"):
        (programs / name).symlink_to(shutil.which(name) or name)
    old = programs / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.18" && exit 0\nexit 1\n')
    old.chmod(0o755)
    result = subprocess.run(
        [programs / "sh", ".ci/environment", "requirements.txt"],
        cwd=tmp_path,
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        "tollgate: Python 3.11 or newer with venv is needed; this is Python 3.9.18.\n"
    )
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_locked_with_hashes_and_without_hosts(name: str) -> None:
    text = (BASE_DIR / name).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(--?(index|extra|find|trusted)|-i|-f)", text, re.MULTILINE)
    packages = re.findall(r"^[a-z0-9].*(?:\n +.*)*", text, re.MULTILINE)
    assert len(packages) > 20
    assert all("--hash=sha256:" in package and "==" in package for package in packages)
