"""The query behind each figure gives the figure: run on real rows, as the triage sums them up."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from opslog.incidents import queries, triage_job, triage_reads
from opslog.incidents.finding import Evidence, Finding
from opslog.incidents.translating import FACTORS, finding_of
from opslog.telemetry import rollup

UNTIL = datetime(2026, 11, 20, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)

# Three features by the hour of the day, five users in sessions of four requests; from the spike on
# chat sends longer inputs (longer with each request of a session), on another model beside the old
# one, and its tool fails; code is new.
EVENTS = """
INSERT INTO inference_events (event_id, created_at, feature, model, user_id, agent_name, wo_id,
    session_id, user_agent, trigger_type, input_tokens, output_tokens, cost_usd)
SELECT format('%%s-%%s-%%s', hour, feature, n), hour + n * interval '40 seconds', feature, model,
    'user-' || (n %% 5), 'agent-' || (n %% 3), 'wo-' || (n %% 2),
    format('%%s-%%s-%%s', feature, hour, n / 4), 'python/' || (n %% 2),
    CASE WHEN n %% 7 = 0 THEN 'undo' WHEN n %% 11 = 0 THEN 'auto_save' ELSE 'user_request' END,
    tokens_in, tokens_out, tokens_in * price * 1e-6 + tokens_out * price * 4e-6
FROM generate_series(%(first)s, %(until)s - interval '1 hour', interval '1 hour') AS hour
CROSS JOIN (VALUES ('chat', 30), ('mail', 20), ('search', 12), ('code', 5)) AS f (feature, usual)
CROSS JOIN LATERAL (SELECT hour >= %(started)s) AS s (spike)
CROSS JOIN LATERAL generate_series(0, usual - 1
    + (EXTRACT(hour FROM hour)::int * 7 + EXTRACT(day FROM hour)::int * 3) %% 6) AS n
CROSS JOIN LATERAL (SELECT CASE WHEN spike AND feature = 'chat' AND n %% 2 = 0 THEN 'large'
    WHEN feature = 'mail' THEN 'small' ELSE 'middle' END) AS m (model)
CROSS JOIN LATERAL (SELECT CASE model WHEN 'large' THEN 5 WHEN 'small' THEN 1 ELSE 2 END,
    CASE WHEN spike AND feature = 'chat' THEN 2000 + 4000 * (n %% 4) ELSE 900 + 20 * (n %% 9) END,
    200 + 10 * (n %% 5)) AS t (price, tokens_in, tokens_out)
WHERE feature <> 'code' OR spike
"""
CALLS = """
INSERT INTO tool_calls (created_at, tool_name, feature, success, retries, inference_event_id)
SELECT created_at + interval '1 second', 'lookup', feature,
    NOT (n %% CASE WHEN feature = 'chat' AND created_at >= %(started)s THEN 2 ELSE 9 END = 0),
    CASE WHEN n %% 9 = 0 THEN 1 ELSE 0 END, event_id
FROM (SELECT *, row_number() OVER (ORDER BY created_at, event_id) AS n FROM inference_events
      WHERE feature IN ('chat', 'search')) AS events
"""


def found(days: int, hours: int) -> Finding:
    """What the triage hands over after a spike of so many hours, with so many days before."""
    started = UNTIL - hours * HOUR
    arguments = {"first": started - timedelta(days=days), "started": started, "until": UNTIL}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tollgate.ensure_telemetry_partitions_v1(%s)", [arguments["first"].date()]
        )
        cursor.execute(EVENTS, arguments)
        cursor.execute(CALLS, arguments)
    rollup.refresh()
    judged = triage_job.fresh(triage_reads.rollups(UNTIL))
    finding = finding_of(judged.verdict, judged.detail)
    assert finding is not None
    return finding


def run(query: str) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def usd(amount: Any) -> str:
    return f"${Decimal(amount):,.2f}"


Figures = Iterable[tuple[str, str, str]]


def confirm(rows: list[dict[str, Any]]) -> Figures:
    for row in rows[-6:]:
        yield f"{row['hour']:%m-%d %H:%M}", usd(row["normal"]), usd(row["cost"])


def traffic(rows: list[dict[str, Any]]) -> Figures:
    for row in rows:
        sign = "+" if row["usd"] >= 0 else "−"
        yield FACTORS[row["part"]], "–", f"{sign}{usd(abs(row['usd']))}"


def hidden(rows: list[dict[str, Any]]) -> Figures:
    for row in rows:
        before, now = row["share_before"], row["share_in_the_spike"]
        yield row["trigger_type"], f"{before:.1%}", f"{now:.1%}"


def tokens(rows: list[dict[str, Any]]) -> Figures:
    before, now = rows
    for label, column in (
        ("average input", "avg_input"),
        ("p95 input", "p95_input"),
        ("average output", "avg_output"),
        ("p95 output", "p95_output"),
    ):
        yield label, f"{float(before[column]):,.0f}", f"{float(now[column]):,.0f}"
    grown = [f"{row['last_to_first_of_a_session']:.1f} times" for row in rows]
    yield "last to first request of a session", grown[0], grown[1]


def attribution(rows: list[dict[str, Any]]) -> Figures:
    for row in rows:
        after = usd(row["usd_an_hour_in_the_spike"])
        yield (
            f"{row['dimension'].replace('_', ' ')} {row['name']}",
            usd(row["usd_an_hour_before"]),
            f"{after} ({row['share_of_the_change']:.0%} of the change)",
        )


def tools(rows: list[dict[str, Any]]) -> Figures:
    for row in rows:
        before, now = row["failure_rate_before"], row["failure_rate_in_the_spike"]
        cost = usd(row["retry_cost_in_the_spike"])
        label = f"{row['tool_name']} in {row['feature']}"
        yield label, f"{before:.0%} fail", f"{now:.0%} fail, retries {cost}"


READ: dict[str, Callable[[list[dict[str, Any]]], Figures]] = {
    "confirm": confirm,
    "traffic": traffic,
    "hidden": hidden,
    "tokens": tokens,
    "attribution": attribution,
    "tools": tools,
}


def figures(evidence: Evidence) -> set[tuple[str, str, str]]:
    return {(each.label, each.before, each.after) for each in evidence.figures}


@pytest.mark.parametrize(
    ("days", "hours"), [(5, 5), (16, 5), (16, 30)], ids=["days", "weeks", "longer than a day"]
)
def test_each_query_gives_the_figures_that_stand_there(db: None, days: int, hours: int) -> None:
    finding = found(days, hours)
    assert finding.feature == "chat"
    assert [each.step for each in finding.evidence] == list(READ)
    labels = [label for each in finding.evidence for label, _, _ in figures(each)]
    for begins in (
        "feature chat", "model ", "user ", "agent ", "work order ", "session ", "user agent ",
        "last to first request of a session", "lookup in chat", "price of a token", "undo",
    ):  # fmt: skip
        assert any(label.startswith(begins) for label in labels), begins
    for each in finding.evidence:
        assert figures(each) <= set(READ[each.step](run(each.sql))), each.step


def test_they_run_with_any_feature_and_on_nothing(db: None) -> None:
    for feature in (None, "", "it's \\ 100%"):
        for query in queries.of(UNTIL - 5 * HOUR, UNTIL, feature, weekly=True).values():
            run(query)
