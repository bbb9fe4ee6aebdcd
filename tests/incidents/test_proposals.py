"""What is proposed against each cause, with what it sets and what that saves."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from opslog.incidents.finding import Contribution, Finding, Parts, Suspect
from opslog.incidents.proposals import Proposal, propose
from tests.incidents.findings import make_finding

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
USD = Decimal


def levers(found: list[Proposal]) -> list[tuple[str, str]]:
    return [(each.lever, f"{each.saving_usd_per_hour:.2f}") for each in found]


def finding(cause: str, parts: Parts, **fields: object) -> Finding:
    base = {"feature": "editor", "tool": "", "contributions": (), "parts": parts}
    return make_finding(until=AT, cause=cause, cost="14.00", **{**base, **fields})


USED = {"feature_usd": USD(11), "normal_feature_usd": USD(1), "requests": 700.0, "users": 7.0}
BROAD = [("throttle", "9.90"), ("cost_cap", "9.00")]
OFF = ("feature_off", "11.00")


@pytest.mark.parametrize(
    ("cause", "parts", "fields", "expected"),
    [
        (
            "hidden_recompute",
            {"trigger_excess": {"undo": USD(2), "auto_save": USD(6), "retry": USD(1)}, **USED},
            {},
            [("auto_save", "5.00"), ("undo_rate", "2.00"), ("tool_retries", "0.60"), *BROAD, OFF],
        ),
        (
            "hidden_recompute",  # what costs nothing is not proposed
            {"trigger_excess": {"auto_save": USD(9)}, **USED},
            {},
            [("auto_save", "7.50"), *BROAD, OFF],
        ),
        (
            "context_bloat",
            USED,
            {"contributions": (
                Contribution("context_bloat", "in", USD(12)), Contribution("other", "", USD(-2)),
            )},
            [("context_messages", "10.00"), *BROAD, OFF],  # never more than the excess
        ),
        (
            "tool_failure_storm",
            {"retry_usd": USD(8), **USED},
            {"tool": "search"},
            [("tool_breaker", "8.00"), ("tool_retries", "4.80"), *BROAD, OFF],
        ),
        (
            "price_or_model_switch",
            {"previous_model": "gpt-4o-mini", **USED},
            {"contributions": (
                Contribution("price_or_model_switch", "", USD(9)),
                Contribution("price_or_model_switch:chat", "", USD(1)),
            )},
            [("substitute_model", "9.00"), *BROAD, OFF],
        ),
        ("output_growth", USED, {}, [*BROAD, OFF]),
        ("feature_dominance", USED, {}, [*BROAD, OFF]),
        # Ten an hour lets all of them through, if they are spread evenly: proposed all the same.
        (
            "feature_dominance", {**USED, "requests": 70.0}, {},
            [("throttle", "0.00"), ("cost_cap", "9.00"), OFF],
        ),
        # 480 users of two days are ten an hour at least: of 200 requests half are stopped.
        (
            "output_growth", {**USED, "requests": 200.0, "users": 480.0, "user_hours": 48.0}, {},
            [("cost_cap", "9.00"), ("throttle", "5.50"), OFF],
        ),
        ("feature_dominance", {}, {}, [("throttle", "10.00"), ("feature_off", "10.00")]),
        ("none", {}, {"feature": ""}, []),
        (
            "traffic_growth",
            {"suspects": (
                Suspect("user", "u1", USD(7)), Suspect("agent", "loop", USD(3), USD("0.40")),
                Suspect("user", "u2", USD("2.4")), Suspect("work_order", "w1", USD(6), USD(1)),
            )},
            {"feature": "", "traffic": "abuse"},
            [("kill_switch", "7.00"), ("kill_switch", "2.60"), ("lower_cap", "5.00")],
        ),
    ],
)  # fmt: skip
def test_proposals(
    cause: str, parts: dict[str, object], fields: dict[str, object], expected: list[tuple[str, str]]
) -> None:
    found = propose(finding(cause, Parts(**parts), **fields), "major")  # type: ignore[arg-type]
    assert levers(found) == expected


SET = {
    "undo_rate_limit": 3, "undo_rate_period": "minute", "auto_save_interval_ms": 30_000,
    "max_tool_retries": 2, "max_context_messages": 10, "tool_breaker_failures": 3,
    "tool_breaker_seconds": 60, "requests_per_period": 20, "period": "rolling_hour",
    "cost_cap_usd": "2.00", "enabled": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("cause", "control", "lever", "label", "values", "saving"),
    [
        # Six dollars of undo, auto-save and retries each.
        ("hidden_recompute", {}, "undo_rate", "Limit undo to 3 a minute",
         {"undo_rate_limit": 3, "undo_rate_period": "minute"}, "6.00"),
        ("hidden_recompute", SET, "undo_rate", "Limit undo to 1 a minute",
         {"undo_rate_limit": 1, "undo_rate_period": "minute"}, "4.00"),
        ("hidden_recompute", {**SET, "undo_rate_limit": 60}, "undo_rate",
         "Limit undo to 3 a minute", {"undo_rate_limit": 3, "undo_rate_period": "minute"}, "6.00"),
        ("hidden_recompute", SET, "auto_save", "Auto-save every 60,000 ms",
         {"auto_save_interval_ms": 60_000}, "3.00"),
        ("hidden_recompute", SET, "tool_retries", "At most 1 retry", {"max_tool_retries": 1},
         "3.00"),
        ("context_bloat", SET, "context_messages", "Send the last 5 messages only",
         {"max_context_messages": 5}, "5.00"),
        ("tool_failure_storm", SET, "tool_breaker",
         "Stop calling a tool for 120 s after 2 failures",
         {"tool_breaker_failures": 2, "tool_breaker_seconds": 120}, "6.00"),
        ("output_growth", SET, "throttle", "Throttle editor to 10 an hour for each user",
         {"requests_per_period": 10, "period": "rolling_hour"}, "9.90"),
        ("output_growth", {**SET, "requests_per_period": 10}, "throttle",
         "Throttle editor to 5 an hour for each user",
         {"requests_per_period": 5, "period": "rolling_hour"}, "10.00"),
        ("output_growth", SET, "cost_cap", "Cap editor at $1.00 in any 60 minutes",
         {"cost_cap_usd": "1.00"}, "10.00"),
    ],
)  # fmt: skip
def test_a_proposal_says_what_will_be_set_and_what_that_saves(
    cause: str, control: dict[str, object], lever: str, label: str, values: object, saving: str
) -> None:
    parts = Parts(
        trigger_excess=dict.fromkeys(("undo", "auto_save", "retry"), USD(6)), retry_usd=USD(6),
        **USED,  # type: ignore[arg-type]
    )  # fmt: skip
    found = {each.lever: each for each in propose(finding(cause, parts), "major", control=control)}[
        lever
    ]
    assert (found.label, found.values, f"{found.saving_usd_per_hour}") == (label, values, saving)


def test_what_cannot_be_tighter_is_not_proposed() -> None:
    tightest = {**SET, "max_tool_retries": 0, "enabled": False, "requests_per_period": 1}
    parts = Parts(retry_usd=USD(6), **USED)  # type: ignore[arg-type]
    found = propose(finding("tool_failure_storm", parts), "major", control=tightest)
    assert [each.lever for each in found] == ["tool_breaker", "cost_cap"]


def test_the_runbooks_values() -> None:
    parts = Parts(
        trigger_excess={"undo": USD(2), "auto_save": USD(2), "retry": USD(2)}, retry_usd=USD(2)
    )
    values: dict[str, object] = {}
    for cause in ("hidden_recompute", "context_bloat", "tool_failure_storm", "feature_dominance"):
        part = (Contribution(cause, "in", USD(10)),)
        for each in propose(finding(cause, parts, contributions=part), "minor"):
            values |= each.values
    assert values == {
        "auto_save_interval_ms": 30_000,
        "undo_rate_limit": 3,
        "undo_rate_period": "minute",
        "max_context_messages": 10,
        "max_tool_retries": 2,
        "tool_breaker_failures": 3,
        "tool_breaker_seconds": 60,
        "requests_per_period": 10,
        "period": "rolling_hour",
        "enabled": False,
    }


def test_everything_is_stopped_last_and_only_where_it_is_critical() -> None:
    found = propose(finding("none", Parts(), feature=""), "critical")
    assert [(each.lever, each.target) for each in found] == [("kill_switch", "Global")]
