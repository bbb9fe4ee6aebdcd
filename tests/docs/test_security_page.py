"""Each sentence of SECURITY.md about who can do what is one that a test tries."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "SECURITY.md").read_text()
SENTENCES = re.findall(
    r"^(?:- )?([A-Z`].+?\.) <!-- (.+?) -->$",
    PAGE.split("## Who holds what")[1].split("### The machine")[0],
    re.MULTILINE,
)

MODEL = (ROOT / "docs" / "security.md").read_text()
ROWS = [line for line in MODEL.splitlines() if line.startswith("| ")][1:]


def named_in(row: str) -> str:
    found = re.search(r" <!-- (.+?) --> \|$", row)
    return found[1] if found else ""


def test_no_row_of_the_threat_model_is_without_a_test() -> None:
    assert len(ROWS) >= 10
    assert [row for row in ROWS if not named_in(row)] == []


def test_no_sentence_is_without_a_test() -> None:
    result = PAGE.split("### A service token")[1].split("### The machine")[0]
    lines = [line for line in result.splitlines() if line.startswith("- ")]
    assert len(lines) > 25
    assert [line for line in lines if "<!-- " not in line] == []
    assert len(SENTENCES) >= len(lines)


ALL = [*SENTENCES, *((row, named_in(row)) for row in ROWS)]


@pytest.mark.parametrize(("sentence", "tests"), ALL, ids=[text[:40] for text, _ in ALL])
def test_its_test_is_there(sentence: str, tests: str) -> None:
    for test in tests.split(", "):
        file, name = test.split("::")
        assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text(), (sentence, test)
