"""What a module says of itself is held by the import contracts."""

import ast
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ["config", "budgets", "workorders", "opslog"]


def contracts() -> dict[str, list[str]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {
        contract["name"]: contract.get("source_modules", [])
        for contract in settings["tool"]["importlinter"]["contracts"]
    }


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def says_pure(path: Path) -> bool:
    """In the first paragraph of its docstring: what comes after may be about other modules."""
    summary = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0]
    return bool(re.search(r"\bpure\b", summary, re.IGNORECASE))


PURE = [
    name_of(path) for floor in FLOORS for path in (ROOT / floor).rglob("*.py") if says_pure(path)
]


@pytest.mark.parametrize("module", sorted(PURE))
def test_a_module_that_says_it_is_pure_is_held_to_it(module: str) -> None:
    held = contracts()["Pure modules know no Django"]
    assert any(fnmatch(module, each) or module == each.removesuffix(".**") for each in held)


@pytest.mark.parametrize("floor", ["budgets", "opslog"])
def test_a_room_says_what_it_is_for(floor: str) -> None:
    silent = [
        room.parent.name
        for room in (ROOT / floor).glob("*/__init__.py")
        if room.parent.name not in {"migrations", "management", "templatetags", "postgresql"}
        and not ast.get_docstring(ast.parse(room.read_text()))
    ]
    assert silent == []
