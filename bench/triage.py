"""How long the triage takes over a week of ten million events: summing up, judging, naming who."""

import time
from dataclasses import dataclass, field
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
        LATERAL (SELECT CASE WHEN chats THEN 'chat' ELSE other END AS feature) named) told
"""
TOOLS = """
INSERT INTO tool_calls (event_id, inference_event_id, created_at, user_id, feature, tool_name,
    retries, success)
SELECT 't' || event_id, event_id, created_at, user_id, feature,
    'tool-' || length(user_id || feature), (input_tokens % 10 = 0)::int, input_tokens % 20 <> 0
FROM inference_events WHERE trigger_type = 'tool_result' AND input_tokens % 2 = 0
"""


@dataclass
class Triaged:
    rows: int
    tools: int = 0
    cells: int = 0
    sum_up_seconds: float = 0.0
    an_hour_seconds: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    causes: dict[str, str] = field(default_factory=dict)


def fill(on: Ground, database: str, got: Triaged, since: datetime, until: datetime) -> None:
    first = until - timedelta(days=DAYS)
    told = {"first": first, "until": until, "since": since, "rows": got.rows}
    with psycopg.connect(on.superuser_url(database), autocommit=True) as owner:
        owner.execute("SELECT tollgate.ensure_telemetry_partitions_v1(%s)", [first.date()])
        owner.execute("SET session_replication_role = replica")  # hours are marked at once, below
        owner.execute(EVENTS, told)
        got.tools = owner.execute(TOOLS).rowcount
        owner.execute("VACUUM ANALYZE inference_events")
        owner.execute("VACUUM ANALYZE tool_calls")
        owner.execute("CHECKPOINT")


def measure(on: Ground, rows: int) -> Triaged:
    """A week that ends in a spike of a day; judged when it was three hours old, when it was a day
    old, and the hour before it began."""
    from config.run.scratch import scratch_database
    from opslog.database.another_database import connected_to
    from opslog.incidents import triage_job, triage_reads
    from opslog.models import InferenceHour
    from opslog.telemetry import rollup

    until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    since = until - 24 * HOUR
    got = Triaged(rows)
    with scratch_database(on.template) as database:
        fill(on, database, got, since, until)
        with connected_to(database):
            began = time.perf_counter()
            rollup.mark_stale()
            rollup.refresh()
            got.sum_up_seconds = time.perf_counter() - began
            got.cells = InferenceHour.objects.count()
            began = time.perf_counter()
            rollup.mark_stale(since=until - HOUR)
            rollup.refresh()
            got.an_hour_seconds = time.perf_counter() - began
            for name, now in (
                ("a quiet hour", since),
                ("a spike of three hours", since + 3 * HOUR),
                ("a spike of a day", until),
            ):
                began = time.perf_counter()
                verdict = triage_job.fresh(triage_reads.rollups(now)).verdict
                got.seconds[name] = time.perf_counter() - began
                got.causes[name] = verdict.cause
            began = time.perf_counter()
            incident = triage_job.run(now=until)
            got.seconds["the whole job, incident included"] = time.perf_counter() - began
            got.causes["the whole job, incident included"] = incident.cause if incident else "none"
    return got


def rows(got: Triaged) -> list[Row]:
    return [
        fact(f"model calls in {DAYS} days", got.rows),
        fact("tool calls", got.tools),
        fact(f"seconds to sum up all hours, into {got.cells:,} sums", got.sum_up_seconds),
        fact("seconds to sum up an hour again", got.an_hour_seconds),
        *(fact(f"{name} ({got.causes[name]})", seconds) for name, seconds in got.seconds.items()),
        aim("seconds of the slowest", max(got.seconds.values()), 10, at_least=False),
    ]
