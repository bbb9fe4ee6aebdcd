"""Instrumentation libraries, in environments of their own: they need other versions of what
Tollgate needs, and of each other's.

Locked with hashes in `clients/`, made once for each state of the locks. To look for newer ones:
`uv pip compile --universal --python-version 3.11 --prerelease=if-necessary-or-explicit
--generate-hashes --no-emit-index-url --no-header requirements.in -o requirements.txt`, and
`npm update` there.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.waiting import HANG_SECONDS

CLIENTS = Path(__file__).parent / "clients"
NODE, NPM = shutil.which("node"), shutil.which("npm")


def python() -> Path:
    """The interpreter with the libraries."""

    def make(place: Path) -> None:
        run(sys.executable, "-m", "venv", "--without-pip", str(place))
        run(
            *(sys.executable, "-m", "pip", "--python", str(place / "bin/python"), "install"),
            *("-qq", "--disable-pip-version-check", "--no-deps", "--require-hashes"),
            *("-r", str(CLIENTS / "requirements.txt")),
        )

    return made("python", make, "requirements.txt") / "bin/python"


def node() -> Path:
    """The folder of the programs for Node, with what they import."""

    def make(place: Path) -> None:
        place.mkdir()
        for name in ("package.json", "package-lock.json", ".npmrc", "ai_sdk.mjs"):
            shutil.copy(CLIENTS / name, place)
        run(str(NPM), "ci", "--no-audit", "--no-fund", cwd=place)

    return made("node", make, "package-lock.json", "ai_sdk.mjs")


def made(kind: str, make: Callable[[Path], None], *inputs: str) -> Path:
    """Made where it is not there yet; of two that make it at once, the first counts."""
    reply = b"\0".join((CLIENTS / name).read_bytes() for name in inputs)
    cache = Path(sys.prefix) / "clients"
    place = cache / f"{kind}-{hashlib.sha256(reply).hexdigest()[:16]}"
    if not place.exists():
        cache.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            make(Path(folder) / "made")
            try:
                (Path(folder) / "made").rename(place)
            except OSError:
                assert place.exists()
    return place


def run(*command: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    done = subprocess.run(
        command, env=env, cwd=cwd, capture_output=True, text=True, timeout=HANG_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
