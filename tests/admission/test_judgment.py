"""The decision as a table: what was looked at, and the check that refuses. No row is touched."""

import json
from typing import Any

import pytest
from django.db import connection

pytestmark = pytest.mark.django_db
Fields = dict[str, Any]
# What each check looks at, in the order of the contract: with it in the way, and without.
ORDER: list[tuple[str, str, str, Any, Any]] = [
    ("replay", "start", "answered", {"status": 201}, None),
    ("stale_prices", "start", "stale", True, False),
    ("unknown_work_order", "start", "status", None, "suspended"),
    ("kill_switch", "look", "killed", {"id": 1}, None),
    ("breaker_open", "look", "tripped", {"id": 1}, None),
    ("feature_off", "look", "feature_is_off", True, False),
    ("feature_rate", "way", "check_name", "feature_rate", "feature_cost"),
    ("feature_cost", "way", "check_name", "feature_cost", "shared_concurrency"),
    ("suspended", "start", "status", "suspended", "draft"),
    ("unknown_agent", "start", "agent_refused", True, False),
    ("concurrency", "look", "open_runs", 2, 1),
    ("shared_concurrency", "way", "check_name", "shared_concurrency", "quota"),
    ("runs_per_day", "look", "runs", 100, 99),
    ("usd_per_day", "look", "usd", "2.00", "1.00"),
    ("quota", "way", "check_name", "quota", "shared_budget"),
    ("shared_budget", "way", "check_name", "shared_budget", "breaker_minute"),
    ("unpriced_model", "start", "unpriced", True, False),
    ("confirm", "start", "confirm", False, True),
    ("breaker_minute", "way", "check_name", "breaker_minute", None),
]
CAPS = {"runs_per_day": 100, "usd_per_day": "2.00", "max_concurrent_runs": 2}


def judge(start: Fields, look: Fields, confirm_over: str = "0.50") -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tollgate.judge_start(json_populate_record(NULL::tollgate.start, %s), "
            "json_populate_record(NULL::tollgate.look, %s), %s)",
            [json.dumps(start), json.dumps(look), confirm_over],
        )
        return str(cursor.fetchone()[0])


def test_the_first_of_the_checks_that_refuse_wins() -> None:
    """Everything is in the way, and one after the other is taken out of it."""
    parts: dict[str, Fields] = {"start": {**CAPS, "estimate": "1.00"}, "look": {}, "way": {}}
    for _, part, field, refusing, _ in reversed(ORDER):
        parts[part][field] = refusing
    found = []
    for _, part, field, _, cured in ORDER:
        found.append(judge(parts["start"], {**parts["look"], "way": parts["way"]}))
        parts[part][field] = cured
    assert found == [check for check, *_ in ORDER]
    assert judge(parts["start"], {**parts["look"], "way": None}) == "none"


def test_the_order_is_that_of_the_type() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT enum_range(NULL::tollgate.start_check)::text[]")
        assert cursor.fetchone()[0] == [*(check for check, *_ in ORDER), "none"]


@pytest.mark.parametrize(
    ("used", "estimate", "check"),
    [
        ("1.99", "0.01", "none"),
        ("1.99", "0.010000001", "usd_per_day"),
        ("0", "2.00", "none"),
        ("2.00", "0", "usd_per_day"),  # at a cap that is used up nothing is admitted
        ("2.01", "0", "usd_per_day"),  # it was lowered
    ],
)
def test_the_dollars_of_a_day(used: str, estimate: str, check: str) -> None:
    start = {**CAPS, "status": "draft", "estimate": estimate, "confirm": True}
    assert judge(start, {"usd": used, "runs": 0, "open_runs": 0}) == check


def charge(check: str, amount: str, used: str = "0", measure: str = "usd", **more: Any) -> Fields:
    win = "rolling_hour" if check in ("feature_cost", "breaker_minute") else "day"
    of = {"check_name": check, "budget_id": 7, "win": win, "measure": measure}
    return of | {"amount": amount, "used": used} | more


@pytest.mark.parametrize(
    ("limit", "estimates", "verdicts"),
    [
        # Room for all, or for none: each can be decided at once.
        (charge("shared_budget", "1.00"), ["0.4", "0.4"], ["none", "none"]),
        (charge("shared_budget", "1.00"), ["0.4", "1.5", "0.6"], ["none", "shared_budget", "none"]),
        (charge("shared_budget", "1.00", "1.00"), ["0", "0.1"], ["shared_budget"] * 2),
        # Room for it alone, and not after those before it: it waits for them.
        (charge("shared_budget", "1.00"), ["0.4", "0.4", "0.4"], ["none", "none", "?"]),
        (charge("shared_budget", "1.00"), ["1.00", "0"], ["none", "?"]),
        (charge("shared_budget", "2", measure="requests"), ["1", "1", "1"], ["none", "none", "?"]),
        # What is refused adds nothing.
        (charge("shared_budget", "1.00"), ["1.5", "0.9"], ["shared_budget", "none"]),
        # To use a feature's dollars up, or to trip the breaker, changes what the next see.
        (charge("feature_cost", "1.00"), ["0.9", "0.1"], ["none", "?"]),
        (charge("feature_cost", "1.00"), ["1.00"], ["?"]),
        (charge("feature_cost", "1.00"), ["1.5"], ["?"]),
        (charge("breaker_minute", "1.00"), ["0.5", "1.5"], ["none", "?"]),
        # (A later check does not matter to who is refused by an earlier one.)
        (charge("breaker_minute", "1.00"), ["0.5", "over"], ["none", "confirm"]),
        # When the oldest slot of a window leaves is what is answered: it may be one of this set's.
        (charge("quota", "1.00", win="rolling_hour"), ["0.5", "1.5"], ["none", "?"]),
        (charge("quota", "1.00", win="rolling_hour"), ["1.5", "0.5"], ["quota", "none"]),
    ],
)
def test_a_set_says_what_does_not_depend_on_those_before(
    limit: Fields, estimates: list[str], verdicts: list[str]
) -> None:
    asks = [
        {
            "start": {"n": n, "estimate": "9" if usd == "over" else usd, "tokens": 0},
            "refused": "confirm" if usd == "over" else "none",
            "stops": False,
        }
        for n, usd in enumerate(estimates)
    ]
    tight = [{"charge": limit, "asked_by": list(range(len(asks)))}]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT v.check_name::text, v.in_doubt FROM tollgate.judge_set("
            "ARRAY(SELECT a FROM json_populate_recordset(NULL::tollgate.set_ask, %s) a), "
            "ARRAY(SELECT t FROM json_populate_recordset(NULL::tollgate.set_limit, %s) t)) v "
            "ORDER BY ((v.ask).start).n",
            [json.dumps(asks), json.dumps(tight)],
        )
        found = ["?" if doubt else check for check, doubt in cursor.fetchall()]
    assert found == verdicts
