"""The parts of the decomposition sum to the change, whatever the two windows hold."""

from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opslog.triage.decompose import State, decompose, log_mean

amount = st.floats(0, 1e9) | st.just(0.0)
dollars = st.floats(1e-6, 1e6) | st.just(0.0)
state = st.builds(State, amount, amount, amount, dollars, dollars, st.floats(0, 100))
window = st.dictionaries(st.sampled_from("abcd"), state)


@given(window, window)
def test_the_parts_sum_to_the_change(before, after):
    found = decompose(before, after)
    size = sum(s.cost for s in before.values()) + sum(s.cost for s in after.values())
    change = sum(s.cost for s in after.values()) - sum(s.cost for s in before.values())
    assert isclose(found.change, change, rel_tol=1e-9, abs_tol=1e-9 * size)
    assert isclose(sum(found.parts.values()), change, rel_tol=1e-9, abs_tol=1e-8 * (size + 1))


@given(window)
def test_no_change_has_no_parts(same):
    found = decompose(same, same)
    assert all(abs(part) <= 1e-9 * (1 + sum(s.cost for s in same.values()))
               for part in found.parts.values())  # fmt: skip


ONE = State(100, 1000, 500, 1.0, 2.0)


@pytest.mark.parametrize(
    ("after", "part", "dollars"),
    [
        (State(200, 2000, 1000, 2.0, 4.0), "requests", 3.0),
        (State(100, 3000, 500, 3.0, 2.0), "input_tokens", 2.0),
        (State(100, 1000, 2000, 1.0, 8.0), "output_tokens", 6.0),
        (State(100, 1000, 500, 1.0, 2.0, 1.5), "price", 1.5),
    ],
)
def test_one_factor_alone_is_told_as_that_factor(after, part, dollars):
    parts = decompose({"a": ONE}, {"a": after}).parts
    assert parts[part] == pytest.approx(dollars)
    assert sum(abs(value) for value in parts.values()) == pytest.approx(dollars)


def test_a_feature_that_came_is_mix():
    parts = decompose({"a": ONE}, {"a": ONE, "b": State(10, 10, 10, 0.5, 0.5)}).parts
    assert parts["mix"] + parts["requests"] == pytest.approx(1.0)
    assert parts["price"] == pytest.approx(0.0)


def test_more_of_the_dear_feature_is_mix():
    cheap, dear = State(100, 100, 100, 0.1, 0.1), State(100, 100, 100, 5.0, 5.0)
    fewer, more = State(50, 50, 50, 0.05, 0.05), State(150, 150, 150, 7.5, 7.5)
    parts = decompose({"c": cheap, "d": dear}, {"c": fewer, "d": more}).parts
    assert parts["requests"] == pytest.approx(0.0)
    assert parts["mix"] == pytest.approx(4.9)


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_the_logarithmic_mean_lies_between(a, b):
    assert min(a, b) * (1 - 1e-6) <= log_mean(a, b) <= max(a, b) * (1 + 1e-6)
