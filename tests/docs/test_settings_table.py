"""The README's table of settings has every environment variable that is read, and no other."""

import re
from pathlib import Path

import pytest

from config.environment import SERVER

ROOT = Path(__file__).resolve().parents[2]
# (files, how a variable is read there)
READ = (
    ("config/**/*.py", r"\benv\.(?:str|bool|int|float|list)\(\s*\"([A-Z_]+)\""),
    ("config/**/*.py", r"\bos\.environ(?:\.get\(|\.setdefault\(|\[)\s*\"([A-Z_]+)\""),
    ("config/**/*.py", r"\btake\(\s*\"([A-Z_]+)\""),
    ("config/environment.py", r"^    \"([A-Z_]+)\": \(\"[0-9]+\", "),
    ("budgets/**/*.py", r"\bos\.environ\.get\(\"([A-Z_]+)\""),
    ("client/python/tollgate_client/*.py", r"\bos\.environ\.get\(\"([A-Z_]+)\""),
    (".ci/*", r"\$\{([A-Z_]+):-"),
)
# Of the system or of Django, not settings of ours.
NOT_OURS = {"DJANGO_SETTINGS_MODULE", "PATH", "SUDO_UID", "SUDO_GID"}


def read_in_code() -> set[str]:
    names: set[str] = set()
    for pattern, reads in READ:
        for file in ROOT.glob(pattern):
            if file.is_file():
                names |= set(re.findall(reads, file.read_text(), re.MULTILINE))
    return names - NOT_OURS


def documented() -> dict[str, tuple[str, str]]:
    """Name → (default, meaning), from the README's table."""
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| (.+?) \| (.+?) \|$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    assert len(rows) == len({name for name, _, _ in rows}), "a variable is documented twice"
    return {name: (default, meaning) for name, default, meaning in rows}


def test_every_variable_is_documented_and_no_other() -> None:
    found = read_in_code()
    assert len(found) > 25  # the patterns still find something
    assert found == set(documented())


@pytest.mark.parametrize(
    ("name", "default"),
    re.findall(
        r"(?:env\.(?:str|int|float)|\btake)\(\"([A-Z_]+)\", default=\"?([\w.]+)\"?[,)](?=[\s)])",
        (ROOT / "config/settings.py").read_text(),
    )
    + [(name, shipped) for name, (shipped, _, _) in SERVER.items()],
)
def test_defaults_are_those_of_the_code(name: str, default: str) -> None:
    result, _ = documented()[name]
    assert f"`{default}`" in result


def test_the_example_file_names_what_is_documented() -> None:
    text = (ROOT / ".env.example").read_text()
    named = set(re.findall(r"^#?([A-Z_]+)=", text, re.MULTILINE))
    assert named == set(documented()) - {"PYTHON", "TEST_WORKERS"}
