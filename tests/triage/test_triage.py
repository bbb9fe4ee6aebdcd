"""Weeks written as letters (see `weeks`): what is confirmed, since when, and why."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from opslog.triage import judge
from opslog.triage.data import (
    Actor,
    Change,
    Detail,
    HourTotal,
    Rollups,
)
from tests.triage.weeks import HOUR, MONDAY, rollups

QUIET = "." * 100

# What is optional in a verdict is there in these: the type checker does not know.
follow: Any = judge.follow
triage: Any = judge.triage


def judged(given: str | Rollups, **options: Any) -> Any:
    """The verdict, whatever it costs (these weeks cost cents)."""
    known = rollups(given) if isinstance(given, str) else given
    return triage(known, floor_usd_per_hour=0.0, **options)


@pytest.mark.parametrize(
    ("letters", "cause", "feature", "tool"),
    [
        (QUIET + "TTTTTTTTT", "traffic_growth", None, None),
        (QUIET + "DDDDDD", "feature_dominance", "chat", None),
        (QUIET + "HHHH", "hidden_recompute", "chat", None),
        (QUIET + "hhhhhh", "hidden_recompute", "chat", None),
        (QUIET + "CCCC", "context_bloat", "chat", None),
        (QUIET + "OOOO", "output_growth", "agent", None),
        (QUIET + "PPPP", "price_or_model_switch", "chat", None),
        (QUIET + "MMMM", "price_or_model_switch", "chat", None),
        (QUIET + "SSSS", "tool_failure_storm", "agent", "lookup"),
        # An old incident inside the baseline.
        ("." * 40 + "T" * 8 + "." * 60 + "OOOO", "output_growth", "agent", None),
        ("." * 40 + "C" * 8 + "." * 60 + "SSSS", "tool_failure_storm", "agent", "lookup"),
        # A burst before it; a new name of the model before it.
        (QUIET + "B......" + "HHHH", "hidden_recompute", "chat", None),
        (QUIET + "RRRRRRR" + "OOOO", "output_growth", "agent", None),
    ],
)
def test_the_cause_of_a_spike(letters, cause, feature, tool):
    verdict = judged(letters)
    assert verdict.confirmed
    assert (verdict.cause, verdict.feature, verdict.tool) == (cause, feature, tool)
    assert verdict.ranked[0].cause == cause
    assert all(each.share > 0 for each in verdict.ranked)
    assert 0.5 < verdict.confidence <= 1
    began = MONDAY + (len(letters.rstrip(letters[-1]))) * HOUR
    assert abs(verdict.start - began) <= HOUR


@pytest.mark.parametrize(
    "letters",
    [
        QUIET,
        QUIET + "B",  # a burst of an hour, seen in each of the hours after it
        QUIET + "B.",
        QUIET + "B..",
        QUIET + "B...",
        QUIET + "B.........",
        QUIET + "RRRRRR",  # another name at the same price
        QUIET + "FFFFFF",  # a tool that fails and costs nothing
        "." * 40 + "T" * 8 + "." * 48,  # an incident that is over
        "." * 90 + "T" * 8 + "." * 3,
        QUIET + "U.",  # half of an hour of undo, as one burst
        QUIET + "UU.",
    ],
)
def test_what_is_no_spike(letters):
    verdict = judged(letters)
    assert not verdict.confirmed
    assert verdict.cause == "none"
    assert verdict.sentences


@pytest.mark.parametrize(
    ("letters", "result"),
    [("", "history"), ("." * 30, "history"), (QUIET, "as usual")],
)
def test_it_says_why_there_is_no_verdict(letters, result):
    assert result in triage(rollups(letters)).sentences[0]


@pytest.mark.parametrize("letter", "TDHhCOPMS")
def test_contributions_and_decomposition_sum_to_the_change(letter):
    verdict = judged(QUIET + letter * 12)
    assert sum((each.usd for each in verdict.contributions), Decimal(0)) == verdict.change_usd
    split = verdict.evidence.decomposition
    assert sum(split.parts.values()) == pytest.approx(split.change)
    assert split.change == pytest.approx(float(verdict.change_usd), abs=1e-5)


@pytest.mark.parametrize(
    ("letter", "part"),
    [("T", "requests"), ("C", "input_tokens"), ("O", "output_tokens"), ("P", "price")],
)
def test_the_decomposition_agrees_with_the_cause(letter, part):
    parts = judged(QUIET + letter * 12).evidence.decomposition.parts
    assert max(parts, key=lambda name: parts[name]) == part


def test_a_spike_below_the_floor_wakes_nobody():
    assert triage(rollups(QUIET + "OOOO"), floor_usd_per_hour=0.01).confirmed
    assert not triage(rollups(QUIET + "OOOO"), floor_usd_per_hour=100.0).confirmed


def test_the_hour_that_runs_is_not_looked_at():
    given = rollups(QUIET + "OOOO")
    early = Rollups(given.until - 4 * HOUR, given.cells, given.tools)
    assert not judged(early).confirmed


def test_evidence_of_each_step():
    evidence = judged(QUIET + "SSSS").evidence
    lookup = next(row for row in evidence.tools if row.tool == "lookup")
    assert lookup.failure_rate > 0.6
    assert lookup.failure_rate_before == 0
    assert lookup.retry_usd > 0
    assert evidence.recompute.share > 2 * evidence.recompute.share_before
    assert evidence.attribution["feature"][0].name == "agent"
    assert evidence.attribution["feature"][0].explains > 0.8
    assert len(evidence.hours) == 4

    tokens = judged(QUIET + "CCCC").evidence.tokens
    assert tokens.input.average == pytest.approx(3600)
    assert tokens.input_before.average == pytest.approx(600)
    assert 2048 <= tokens.input.p95 < 4096
    assert 512 <= tokens.input_before.p95 < 1024
    assert tokens.output.average == tokens.output_before.average


# --- following an open incident ---------------------------------------------------------------


def test_the_start_is_kept_and_the_cause_follows_the_evidence():
    opened = judged(QUIET + "TTTTTTTTT")
    later = follow(opened, rollups(QUIET + "T" * 9 + "S" * 20))
    assert later.start == opened.start
    assert later.cause == "tool_failure_storm"
    assert later.raised


def test_what_is_over_is_not_judged_again():
    opened = judged(QUIET + "OOOO")
    over = follow(opened, rollups(QUIET + "OOOO" + "." * 5))
    assert not over.raised
    assert (over.cause, over.until) == (opened.cause, opened.until)
    again = follow(over, rollups(QUIET + "OOOO" + "." * 5 + "O"))
    assert again.raised
    assert again.until > opened.until


def test_only_a_spike_can_be_followed():
    quiet = triage(rollups(QUIET))
    with pytest.raises(ValueError, match="confirmed"):
        follow(quiet, rollups(QUIET))


# --- the long history ---------------------------------------------------------------------------


def test_with_weeks_of_history_the_same_hour_of_the_week_counts():
    """Saturdays are three times as dear, always: a spike by days, none by weeks."""
    given = rollups("." * 120 + "T" * 12)
    saturday = judged(given)
    assert saturday.confirmed
    assert "not two weeks of history" in saturday.sentences[1]

    totals: list[HourTotal] = []
    by_hour: dict[datetime, float] = {}
    for each in given.cells:
        by_hour[each.hour] = by_hour.get(each.hour, 0.0) + each.cost_usd
    for hour, cost in by_hour.items():
        totals.extend(HourTotal(hour - timedelta(days=7 * n), cost) for n in range(4))
    known = Rollups(given.until, given.cells, given.tools, totals)
    assert not judged(known).confirmed
    worse = Rollups(
        given.until,
        given.cells,
        given.tools,
        [HourTotal(t.hour, t.cost_usd / 2 if t.hour < MONDAY else t.cost_usd) for t in totals],
    )
    verdict = judged(worse)
    assert verdict.confirmed
    assert "weeks" in verdict.sentences[1]


# --- who it was, and what was changed -------------------------------------------------------------


def actors(verdict, *, of_one: float) -> Detail:
    change = float(verdict.change_usd)
    return Detail(
        verdict.comparison,
        [
            Actor("user", "u1", 50, of_one * change, 0.0),
            Actor("user", "u2", 50, 0.2 * change, 0.2 * change),
            Actor("user", "", 50, 9.0, 0.0),
        ],
        users=900,
    )


@pytest.mark.parametrize(
    ("of_one", "result"), [(0.9, "rather a bot or abuse"), (0.1, "looks organic")]
)
def test_one_user_behind_it_is_told_from_growth(of_one, result):
    given = rollups(QUIET + "T" * 9)
    first = judged(given)
    assert first.actor is None
    known = judged(given, detail=actors(first, of_one=of_one))
    assert any(result in sentence for sentence in known.sentences)
    assert (known.actor is not None) == (of_one > 0.5)


def test_a_change_shortly_before_is_named():
    at = MONDAY + 99 * HOUR
    changes = [
        Change(at - 40 * HOUR, "deploy", "release 6"),
        Change(at, "prompt_template", "longer answers", "agent"),
        Change(at, "deploy", "release 7", "chat"),
    ]
    verdict = judged(QUIET + "OOOO", changes=changes)
    assert [change.what for change in verdict.changes] == ["longer answers", "release 7"]
    assert any("longer answers" in sentence for sentence in verdict.sentences)


def test_the_sentences_say_since_when_how_much_and_why():
    verdict = judged(QUIET + "SSSS")
    text = " ".join(verdict.sentences)
    assert "Since 2026-03-06 04:00 UTC" in text
    assert "an hour above the baseline" in text
    assert "agent trying the failing tool lookup" in text


def test_the_comparison_is_at_most_a_day_long():
    opened = judged(QUIET + "OOOO")
    later = follow(opened, rollups(QUIET + "O" * 40))
    window = later.comparison
    assert window is not None
    assert window.until - window.start == 24 * HOUR
    assert window.baseline_until == window.start
    assert window.feature == "agent"
