"""Who asked for a tool, and how often it was tried before."""

import pytest

from opslog.telemetry.loops import Askers, ModelStep, ToolStep, attempts


def test_the_last_model_call_before_the_tool_asked_for_it() -> None:
    askers = Askers(
        [ModelStep("l", "second", 5), ModelStep("l", "first", 1), ModelStep("other", "third", 6)]
    )
    assert [askers.of("l", at) for at in (0, 1, 4, 5, 9)] == [
        *(None, "first", "first", "second", "second")
    ]
    assert askers.of("nobody's", 9) is None


@pytest.mark.parametrize(
    ("letters", "before"),
    [
        # a letter is a tool, upper case where it failed; one after the other
        ("s", [0]),
        ("ss", [0, 0]),
        ("Ss", [0, 1]),
        ("SSs", [0, 1, 2]),
        ("SSss", [0, 1, 2, 0]),
        ("SsSs", [0, 1, 0, 1]),
        ("Sfs", [0, 0, 1]),
        ("SFsf", [0, 0, 1, 1]),
    ],
)
def test_attempts(letters: str, before: list[int]) -> None:
    steps = [
        ToolStep("l", str(at), letter.lower(), at, at + 0.5, letter.isupper())
        for at, letter in enumerate(letters)
    ]
    assert list(attempts(reversed(steps)).values()) == before


def test_calls_at_the_same_time_are_no_attempts_of_each_other() -> None:
    steps = [ToolStep("l", f"{at}-{n}", "s", at, at + 2, True) for at in (0, 5) for n in range(3)]
    assert list(attempts(steps).values()) == [0, 0, 0, 1, 1, 1]


def test_loops_are_apart_and_what_was_told_is_believed() -> None:
    steps = [
        ToolStep("l", "a", "s", 0, 1, True, reported=4),
        ToolStep("l", "b", "s", 2, 3, True),
        ToolStep("other", "c", "s", 2, 3, True),
        ToolStep("l", "d", "s", 4, 5, False, reported=0),
    ]
    assert attempts(steps) == {"a": 4, "b": 5, "c": 0, "d": 0}


def test_the_same_call_twice_and_calls_that_took_no_time() -> None:
    step = ToolStep("l", "a", "s", 1, 1, True)
    assert attempts([step, step]) == {"a": 0}
    assert attempts([step, ToolStep("l", "b", "s", 1, 1, True)]) == {"a": 0, "b": 1}
