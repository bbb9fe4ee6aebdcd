"""What is run needs what requirements.txt installs, and nothing of what only tests need."""

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PINNED = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==", re.MULTILINE)
# Looked at by libraries of the product where they are there; sqlfluff and playwright bring them.
OPTIONAL = {"chardet", "colorama", "greenlet", "httpcore", "jinja2", "markupsafe"}
# Everything that a process of the product may import; prints the files of it.
IMPORTED = """
import importlib, os, pkgutil, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
import django
django.setup()
for package in ("config", "budgets", "workorders", "opslog"):
    for found in pkgutil.walk_packages([package], f"{package}."):
        importlib.import_module(found.name)
print(*(m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)), sep="\\n")
"""


def pinned(name: str) -> set[str]:
    return {each.lower() for each in PINNED.findall((ROOT / name).read_text())}


def files_of(name: str) -> set[str]:
    try:
        found = distribution(name)
    except PackageNotFoundError:  # of another system or version of Python
        return set()
    return {str(found.locate_file(file)) for file in found.files or ()}


def test_nothing_that_only_tests_need_is_imported() -> None:
    only_tests = pinned("requirements-dev.txt") - pinned("requirements.txt")
    assert "pytest" in only_tests
    theirs = {file: name for name in only_tests for file in files_of(name)}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    imported = set(done.stdout.splitlines())
    assert len(imported) > 500
    assert {theirs[file] for file in imported & set(theirs)} - OPTIONAL == set()
