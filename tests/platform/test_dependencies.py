"""What is run needs what requirements.txt installs, and nothing of what only tests need. Tests do
not need each other."""

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OF_A_TEST_MODULE = re.compile(r"^\s*(?:from|import) tests\b.*\btest_\w+", re.MULTILINE)
PINNED = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==", re.MULTILINE)
# Looked at by libraries of the product where they are there; sqlfluff and playwright bring them.
# setuptools enters every Python at its start, where it is installed.
OPTIONAL = {"chardet", "colorama", "greenlet", "httpcore", "jinja2", "markupsafe", "setuptools"}
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


@pytest.mark.parametrize(
    "line", ["from tests.a.test_b import c", "from tests.a import test_b as b"]
)
def test_it_is_seen(line: str) -> None:
    assert OF_A_TEST_MODULE.search(line)


def test_no_test_module_is_imported() -> None:
    files = sorted([*ROOT.glob("tests/**/*.py"), *ROOT.glob("bench/**/*.py")])
    found = {
        file.relative_to(ROOT).as_posix(): names
        for file in files
        if (names := OF_A_TEST_MODULE.findall(file.read_text()))
    }
    assert found == {}
