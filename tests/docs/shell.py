"""The shell commands of a document, run as they are printed, in a fresh copy of the repository."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config.run.children import BASE_DIR
from config.run.embedded import binaries
from tests.waiting import HANG_SECONDS

FENCE = re.compile(r"(?:<!-- not run: (.*?) -->\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# What a document calls, and what it is here: `make` installs nothing (its packages are there).
MAKE = """#!/bin/sh
exec {make} -o .venv/runtime -o .venv/development "$@"
"""


@dataclass(frozen=True)
class Fence:
    """`why_not`: why it cannot run in a test, as the document says; `language` of the fence."""

    why_not: str
    language: str
    text: str


def fences(page: str, after: str = "", before: str = "") -> list[Fence]:
    """Of a document, or of what stands between two headings."""
    text = (BASE_DIR / page).read_text()
    text = text.split(after, 1)[1] if after else text
    text = text.split(before, 1)[0] if before else text
    return [Fence(*matches) for matches in FENCE.findall(text)]


def runnable(page: str, after: str = "", before: str = "") -> list[str]:
    return [
        fence.text
        for fence in fences(page, after, before)
        if fence.language == "sh" and not fence.why_not
    ]


def fresh_copy(place: Path) -> Path:
    """What a clone has, with the packages that are installed already."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        for name in filter(None, listed.stdout.split("\0")):
            if not name.startswith(".venv") and (BASE_DIR / name).is_file():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(BASE_DIR / name, place / name)
    else:  # an unpacked archive
        left_out = shutil.ignore_patterns(".venv", ".tollgate*", ".static", ".*_cache")
        shutil.copytree(BASE_DIR, place, ignore=left_out, dirs_exist_ok=True)
    (place / ".venv").symlink_to((BASE_DIR / ".venv").resolve())
    programs = place.with_name(f"{place.name}-programs")
    programs.mkdir()
    make = programs / "make"
    make.write_text(MAKE.format(make=shutil.which("make")))
    make.chmod(0o755)
    return place


def environment(copy: Path, **extra: str) -> dict[str, str]:
    """Nothing of the tests' own settings."""
    settings = set(re.findall(r"^\| `([A-Z_]+)` \|", (BASE_DIR / "README.md").read_text(), re.M))
    ours = settings | {"DJANGO_SETTINGS_MODULE"}
    clean = {name: text for name, text in os.environ.items() if name not in ours}
    programs = copy.with_name(f"{copy.name}-programs")
    return {**clean, "PATH": f"{programs}:{binaries()}:{os.environ['PATH']}", **extra}


def run(blocks: list[str], copy: Path, env: Mapping[str, str]) -> list[str]:
    """In one shell, one after the other; what each printed on stdout. Fails with the first that
    fails."""
    mark = "=== the next block ==="
    script = f"\nprintf '%s\\n' '{mark}'\n".join(["set -e", *blocks])
    ended = subprocess.run(
        ["bash", "-c", script],
        stdin=subprocess.DEVNULL,
        cwd=copy,
        env=dict(env),
        capture_output=True,
        text=True,
        timeout=4 * HANG_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
    return ended.stdout.split(f"{mark}\n")[1:]
