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


def imported(path: Path) -> set[str]:
    """Every `a.b.c` that a file imports, by whatever way."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def doors() -> dict[str, set[str]]:
    """What each room lets others import: its `__all__`, modules and names."""
    rooms = {}
    for floor in ("budgets", "opslog"):
        for init in (ROOT / floor).glob("*/__init__.py"):
            for node in ast.parse(init.read_text()).body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                    rooms[name_of(init)] = set(ast.literal_eval(node.value))
    return {room: names for room, names in rooms.items() if not room.endswith(".models")}


def test_a_room_is_entered_by_what_it_lists() -> None:
    rooms = doors()
    assert len(rooms) > 20
    past = [
        f"{name_of(path)}: {name}"
        for floor in FLOORS
        for path in (ROOT / floor).rglob("*.py")
        for name in imported(path)
        for room, listed in rooms.items()
        if name.startswith(f"{room}.")
        and not name_of(path).startswith(room)
        and name.removeprefix(f"{room}.").split(".")[0] not in listed
    ]
    assert past == []
