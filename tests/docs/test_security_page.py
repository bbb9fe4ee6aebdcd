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


def test_no_sentence_is_without_a_test() -> None:
    told = PAGE.split("### A service token")[1].split("### The machine")[0]
    lines = [line for line in told.splitlines() if line.startswith("- ")]
    assert len(lines) > 25
    assert [line for line in lines if "<!-- " not in line] == []
    assert len(SENTENCES) >= len(lines)


@pytest.mark.parametrize(("sentence", "tests"), SENTENCES, ids=[text[:40] for text, _ in SENTENCES])
def test_its_test_is_there(sentence: str, tests: str) -> None:
    for test in tests.split(", "):
        file, name = test.split("::")
        assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text(), (sentence, test)
