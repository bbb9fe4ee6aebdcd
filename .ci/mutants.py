"""Breaks the code on purpose, one place at a time, and sees whether a test notices.

A mutant is a copy of the tree with one change: a comparison turned, or a statement left out that
writes something or calls something. It is killed when one of the tests named for its file fails,
and survives when all of them pass. Some survivors change nothing that anybody could see; the others
are tests that are missing.

    make mutants ARGS="--mutants 20 --seed 7 --only budgets/sql/settlement.sql"

Prints each mutant, then the share that was killed and the survivors. Exit code 1 where
there is one.
"""

import argparse
import ast
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A file or a room, and the tests that are there for it.
TARGETS = {
    "budgets/sql/admission.sql": ["tests/admission", "tests/guardrails"],
    "budgets/sql/settlement.sql": ["tests/admission", "tests/corrections", "tests/spending"],
    "budgets/sql/approvals.sql": ["tests/approvals", "tests/roles"],
    "budgets/sql/batch_set.sql": ["tests/batches"],
    "opslog/sql/events.sql": ["tests/opslogs", "tests/sealing", "tests/roles"],
    "opslog/sql/seals.sql": ["tests/sealing"],
    "budgets/admission": ["tests/admission", "tests/batches", "tests/spending"],
    "budgets/approvals": ["tests/approvals", "tests/corrections"],
    "opslog/sealing": ["tests/sealing"],
    "opslog/events": ["tests/opslogs"],
    "opslog/pricing": ["tests/prices"],
}
TURNED = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "=": "<>", "<>": "="}
TURNED_PYTHON = TURNED | {"==": "!=", "!=": "=="}
OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
# Not the arrows of JSON, an assignment, a named argument, or an operator of arrays and networks.
COMPARISON = re.compile(r"(?<![-:=<>@|~!&?#])(<=|>=|<>|<|>|=)(?![-=<>@|~&#])")
# At the beginning of a statement, so not inside of a query.
STATEMENT = re.compile(r"(?<=[;\n])[ ]*(?:PERFORM|INSERT INTO)\b")
BEFORE_A_STATEMENT = re.compile(r"(?:;|\b(?:BEGIN|THEN|ELSE|LOOP))\s*\Z")
BLANKED = re.compile(r"--[^\n]*|'(?:[^']|'')*'")


@dataclass(frozen=True)
class Mutant:
    """`path` from the root, with `[begin:end]` of its text replaced by `new`."""

    path: str
    begin: int
    end: int
    new: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        text = (ROOT / self.path).read_text()
        was = " ".join(text[self.begin : self.end].split())
        line = text.count("\n", 0, self.begin) + 1
        return f"{self.path}:{line}: {was[:60]} → {self.new}"


def of_sql(text: str) -> Iterator[tuple[int, int, str]]:
    """Comparisons turned, and PERFORM and INSERT left out."""
    bare = BLANKED.sub(lambda found: " " * len(found[0]), text)
    for found in COMPARISON.finditer(bare):
        yield found.start(1), found.end(1), TURNED[found[1]]
    for found in STATEMENT.finditer(bare):
        if BEFORE_A_STATEMENT.search(bare[: found.start()]):
            yield found.start(), bare.index(";", found.start()), " NULL"


def of_python(text: str) -> Iterator[tuple[int, int, str]]:
    """Comparisons turned, and calls left out whose value nobody uses."""
    lines = text.encode().splitlines(keepends=True)
    starts = [sum(map(len, lines[:n])) for n in range(len(lines))]

    def place(line: int, column: int) -> int:
        return len(text.encode()[: starts[line - 1] + column].decode())

    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OPERATORS:
            begin = place(node.left.end_lineno or 0, node.left.end_col_offset or 0)
            end = place(node.comparators[0].lineno, node.comparators[0].col_offset)
            sign = OPERATORS[type(node.ops[0])]
            yield begin, end, text[begin:end].replace(sign, TURNED_PYTHON[sign], 1)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            begin = place(node.lineno, node.col_offset)
            yield begin, place(node.end_lineno or 0, node.end_col_offset or 0), "pass"


def mutants(only: str) -> Iterator[Mutant]:
    for target, tests in TARGETS.items():
        files = (
            sorted((ROOT / target).rglob("*.py")) if (ROOT / target).is_dir() else [ROOT / target]
        )
        for file in files:
            path = str(file.relative_to(ROOT))
            if path.startswith(only):
                made = of_python if file.suffix == ".py" else of_sql
                for begin, end, new in made(file.read_text()):
                    yield Mutant(path, begin, end, new, tuple(tests))


def outcome(copy: Path, tests: tuple[str, ...], mutant: Mutant | None = None) -> str:
    """Of the tests in that copy: "killed", "survived", or "invalid" where the code is not even
    taken by PostgreSQL or Python."""
    original = ""
    if mutant:
        file = copy / mutant.path
        original = file.read_text()
        file.write_text(original[: mutant.begin] + mutant.new + original[mutant.end :])
    argv = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", "-p", "no:cacheprovider", *tests]
    ended = subprocess.run(argv, cwd=copy, capture_output=True, text=True, check=False)
    if mutant:
        file.write_text(original)
    if ended.returncode == 0:
        return "survived"
    if ended.returncode != 1 or "SyntaxError" in ended.stdout:
        return "invalid"
    return "killed"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--mutants", type=int, default=50, help="how many (50)")
    parser.add_argument("--seed", type=int, default=1, help="which of them (1)")
    parser.add_argument("--only", default="", help="of files whose path begins so")
    parser.add_argument("--tests", nargs="*", help="instead of those that are named for the file")
    parser.add_argument("--list", action="store_true", help="name them, and run nothing")
    options = parser.parse_args()
    found = list(mutants(options.only))
    chosen = random.Random(options.seed).sample(found, min(options.mutants, len(found)))  # noqa: S311
    print(f"{len(chosen)} of {len(found)} mutants, seed {options.seed}", flush=True)
    if options.list:
        print(*chosen, sep="\n")
        return 0
    results: dict[str, list[Mutant]] = {"killed": [], "survived": [], "invalid": []}
    with tempfile.TemporaryDirectory(prefix="tollgate-mutants-") as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", ".tollgate"))
        for tests in {tuple(options.tests or each.tests) for each in chosen}:
            if outcome(copy, tests) != "survived":
                print(f"Without any mutant a test of {' '.join(tests)} fails.")
                return 1
        for mutant in chosen:
            ended = outcome(copy, tuple(options.tests or mutant.tests), mutant)
            results[ended].append(mutant)
            print(f"{ended:8} {mutant}", flush=True)
    judged = len(results["killed"]) + len(results["survived"])
    print(f"\n{len(results['killed'])} of {judged} killed", end="")
    print(f" ({len(results['killed']) / judged:.0%})" if judged else "", end="")
    print(f"; {len(results['invalid'])} invalid")
    print(*(f"survived: {each}" for each in results["survived"]), sep="\n")
    return int(bool(results["survived"]))


if __name__ == "__main__":
    sys.exit(main())
