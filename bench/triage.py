"""How long the triage takes over a week of ten million events: summing up, judging, naming who."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg

from bench.ground import Ground
from bench.report import Row, aim, fact

HOUR = timedelta(hours=1)
DAYS = 7
# Evenly over the week; one in fourteen asks a tool. From `since` on `chat` is four times as long.
EVENTS = """
INSERT INTO inference_events (event_id, created_at, user_id, session_id, agent_name, user_agent,
    wo_id, feature, model, trigger_type, input_tokens, output_tokens, cost_usd, success)
SELECT 'e' || n, at, 'u' || n %% 5000, 's' || n / 7 %% 50000, 'agent-' || n %% 40, 'ua-' || n %% 20,
    'wo-' || n %% 1000, feature, 'model-' || n %% 5,
    (ARRAY['user_request', 'user_request', 'user_request', 'tool_result', 'auto_save', 'undo',
        'retry'])[1 + n %% 7],
    tokens, 200 + n %% 100, tokens * 0.0000003 + (200 + n %% 100) * 0.0000012, n %% 100 <> 0
FROM (SELECT n, at, feature,
        (500 + n * 7919 %% 1000) * CASE WHEN feature = 'chat' AND at >= %(since)s THEN 4 ELSE 1 END
            AS tokens
    FROM (SELECT n, %(first)s::timestamptz + n * (%(until)s::timestamptz - %(first)s::timestamptz)
                / %(rows)s AS at,
            'feature-' || n %% 30 AS other, n %% 4 = 0 AS chats
        FROM generate_series(0, %(rows)s::bigint - 1) n) numbered,
        LATERAL (SELECT CASE WHEN chats THEN 'chat' ELSE other END AS feature) named) calls
"""
TOOLS = """
INSERT INTO tool_calls (event_id, inference_event_id, created_at, user_id, feature, tool_name,
    retries, success)
SELECT 't' || event_id, event_id, created_at, user_id, feature,
    'tool-' || length(user_id || feature), (input_tokens % 10 = 0)::int, input_tokens % 20 <> 0
FROM inference_events WHERE trigger_type = 'tool_result' AND input_tokens % 2 = 0
"""


def fill(on: Ground, database: str, rows: int, since: datetime, until: datetime) -> int:
    """Gives the number of calls of tools."""
    first = until - timedelta(days=DAYS)
    arguments = {"first": first, "until": until, "since": since, "rows": rows}
    with psycopg.connect(on.superuser_url(database), autocommit=True) as owner:
        owner.execute("SELECT tollgate.ensure_telemetry_partitions_v1(%s)", [first.date()])
        owner.execute("SET session_replication_role = replica")  # hours are marked at once, below
        owner.execute(EVENTS, arguments)
        tools = owner.execute(TOOLS).rowcount
        owner.execute("VACUUM ANALYZE inference_events")
        owner.execute("VACUUM ANALYZE tool_calls")
        owner.execute("CHECKPOINT")
    return tools


def measure(on: Ground, rows: int) -> list[Row]:
    """A week that ends in a spike of a day; judged when it was three hours old, when it was a day
    old, and the hour before it began."""
    from config.run.scratch import scratch_database
    from opslog.database.another_database import connected_to
    from opslog.incidents import triage_job, triage_reads
    from opslog.models import InferenceHour
    from opslog.telemetry import rollup

    until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    since = until - 24 * HOUR
    judged: list[tuple[str, float]] = []

    def verdict(now: datetime) -> str:
        return str(triage_job.fresh(triage_reads.rollups(now)).verdict.cause)

    def job(now: datetime) -> str:
        incident = triage_job.run(now=now)
        return str(incident.cause) if incident else "none"

    with scratch_database(on.template) as database:
        tools = fill(on, database, rows, since, until)
        with connected_to(database):
            began = time.perf_counter()
            rollup.mark_stale()
            rollup.refresh()
            whole = time.perf_counter() - began
            cells = InferenceHour.objects.count()
            began = time.perf_counter()
            rollup.mark_stale(since=until - HOUR)
            rollup.refresh()
            an_hour = time.perf_counter() - began
            takes: dict[str, Callable[[], str]] = {
                "a quiet hour": lambda: verdict(since),
                "a spike of three hours": lambda: verdict(since + 3 * HOUR),
                "a spike of a day": lambda: verdict(until),
                "the whole job, incident included": lambda: job(until),
            }
            for name, cause in takes.items():
                began = time.perf_counter()
                judged.append((f"{name} ({cause()})", time.perf_counter() - began))
    return [
        fact(f"model calls in {DAYS} days", rows),
        fact("tool calls", tools),
        fact(f"seconds to sum up all hours, into {cells:,} sums", whole),
        fact("seconds to sum up an hour again", an_hour),
        *(fact(name, seconds) for name, seconds in judged),
        aim("seconds of the slowest", max(seconds for _, seconds in judged), 10, at_least=False),
    ]
