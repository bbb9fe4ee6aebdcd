"""`/metrics` for Prometheus: what the processes counted, and what only the database knows."""

import json
import os
from collections.abc import Iterator
from functools import cache
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from budgets.admission import metrics as counters
from budgets.controls.limits import MOST
from opslog.api.client_address import client_address, in_networks
from opslog.database import authority
from opslog.exceptions import Unavailable
from workorders import tokens
from workorders.api.auth import token_text

GAUGES = """
SELECT coalesce(max(open_runs) FILTER (WHERE "window" = 'open'), 0),
       coalesce(max(reserved_usd) FILTER (WHERE "window" = 'day'), 0),
       coalesce(max(settled_usd) FILTER (WHERE "window" = 'day'), 0),
       (SELECT count(*) FROM work_order_runs
        WHERE status = 'running' AND lease_expires_at <= tollgate.now()),
       (SELECT count(*) FROM django_q_ormq),
       (SELECT coalesce(extract(epoch FROM now() - min(lock)), 0) FROM django_q_ormq
        WHERE lock <= now()),
       (SELECT extract(epoch FROM now() - at) FROM heartbeats WHERE name = 'worker'),
       coalesce(extract(epoch FROM now() - tollgate.oldest_unsealed_v1()), 0),
       (SELECT count(*) FROM service_tokens t
        WHERE revoked_at IS NULL AND expires_at > now() AND expires_at <= now() + interval '14 days'
            AND NOT EXISTS (SELECT FROM service_tokens s WHERE s.predecessor_id = t.id))
FROM counters
WHERE key = ANY (ARRAY[
    tollgate.counter_key('global', '', 'open', 'epoch'),
    tollgate.counter_key('global', '', 'day', date_trunc('day', tollgate.now(), 'UTC'))])
"""
# Of the hours of today that are summed up; the models and features with most tokens.
TOKENS = """
WITH today AS (
    SELECT model, feature, sum(requests) AS calls, sum(unpriced) AS unpriced,
        sum(input_tokens) AS input, sum(cached_input_tokens) AS cached_input,
        sum(cache_write_tokens + cache_write_1h_tokens) AS cache_write,
        sum(output_tokens) AS output, sum(reasoning_tokens) AS reasoning
    FROM inference_hours WHERE hour >= date_trunc('day', tollgate.now(), 'UTC') GROUP BY 1, 2
), ranked AS (
    SELECT *, row_number() OVER (ORDER BY input + output DESC, model, feature) > %s AS rest
    FROM today
)
SELECT coalesce(json_agg(t), '[]')::text FROM (
    SELECT CASE WHEN rest THEN 'other' ELSE model END AS model,
        CASE WHEN rest THEN 'other' ELSE feature END AS feature, sum(calls) AS calls,
        sum(unpriced) AS unpriced, sum(input) AS input, sum(cached_input) AS cached_input,
        sum(cache_write) AS cache_write, sum(output) AS output, sum(reasoning) AS reasoning
    FROM ranked GROUP BY 1, 2) t
"""
KINDS = ("input", "cached_input", "cache_write", "output", "reasoning")
MOST_PAIRS = 100
SLOWEST = "1500ms"
LIMITED = "SELECT coalesce(json_agg(id), '[]')::text FROM budgets WHERE amount IS NOT NULL"
LIMITS = f"""
SELECT coalesce(json_agg(json_build_array(b.scope, b.subject, b."window", b.measure, b.amount,
    u.settled, u.held)), '[]')::text
FROM ({MOST}) u (id, subject, settled, held) JOIN budgets b ON b.id = u.id
"""  # noqa: S608  (no user text in it)
NAMES = (
    ("tollgate_open_runs", "Runs with an open lease."),
    ("tollgate_reserved_usd_today", "US dollars reserved by open runs of today (UTC)."),
    ("tollgate_settled_usd_today", "US dollars settled today (UTC)."),
    ("tollgate_overdue_leases", "Runs whose lease is over and that are not settled yet."),
    ("tollgate_queue_depth", "Jobs that wait."),
    ("tollgate_queue_age_seconds", "Seconds that the oldest waiting job waits."),
    ("tollgate_worker_heartbeat_age_seconds", "Seconds since the job worker was known to work."),
    ("tollgate_unsealed_age_seconds", "Seconds since the oldest event without a seal was written."),
    ("tollgate_tokens_expiring", "Tokens that expire within 14 days and were not rotated."),
)


class FromDatabase(Collector):
    def collect(self) -> Iterator[GaugeMetricFamily]:
        up = 1
        values: tuple[float | None, ...] = ()
        try:
            values = authority.fetch_row(GAUGES, [])
        except Unavailable:
            up = 0
        yield GaugeMetricFamily("tollgate_database_up", "Whether the database answers.", value=up)
        for (name, help_text), value in zip(NAMES, values, strict=False):
            if value is not None:
                yield GaugeMetricFamily(name, help_text, value=float(value))
        if up:
            yield from _tokens()
            yield from _limits()


def _rows(sql: str, params: list[Any]) -> list[Any]:
    """Nothing, where it takes too long: these read as many rows as there are subjects and hours,
    and are no reason to take the database for gone."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [SLOWEST])
            cursor.execute(sql, params)
            (rows,) = cursor.fetchone()
    except DatabaseError:
        return []
    return list(json.loads(rows))


def _tokens() -> Iterator[GaugeMetricFamily]:
    """Telemetry of today by model and feature. Parts of a whole have a kind of their own, too."""
    labels = ("model", "feature")
    tokens = GaugeMetricFamily(
        "tollgate_tokens_today",
        "Tokens of today's model calls (UTC) from telemetry. Cached and cache-write tokens are "
        "parts of the input, reasoning tokens of the output.",
        labels=(*labels, "kind"),
    )
    calls = GaugeMetricFamily("tollgate_model_calls_today", "Model calls of today.", labels=labels)
    unknown = GaugeMetricFamily(
        "tollgate_model_calls_without_cost_today",
        "Model calls of today whose cost is unknown.",
        labels=labels,
    )
    for row in _rows(TOKENS, [MOST_PAIRS]):
        pair = [row["model"], row["feature"]]
        for kind in KINDS:
            tokens.add_metric([*pair, kind], row[kind])
        calls.add_metric(pair, row["calls"])
        unknown.add_metric(pair, row["unpriced"])
    yield from (tokens, calls, unknown)


def _limits() -> Iterator[GaugeMetricFamily]:
    """Each shared limit that is set, and what counts against it now. Where it is one for each
    subject (`*`), the use is that of the subject that uses most."""
    labels = ("scope", "subject", "window", "measure")
    limit = GaugeMetricFamily("tollgate_limit", "Shared limits in force.", labels=labels)
    used = GaugeMetricFamily(
        "tollgate_limit_used", "Settled use of a shared limit in its window.", labels=labels
    )
    held = GaugeMetricFamily(
        "tollgate_limit_reserved", "Reserved use of a shared limit in its window.", labels=labels
    )
    ids = _rows(LIMITED, [])
    for *which, amount, settled, reserved in _rows(LIMITS, [ids]):
        limit.add_metric(which, amount)
        used.add_metric(which, settled)
        held.add_metric(which, reserved)
    yield from (limit, used, held)


class Shares(Collector):
    """What is a share of what the processes counted."""

    def __init__(self, counted: Collector) -> None:
        self.counted = counted

    def collect(self) -> Iterator[GaugeMetricFamily]:
        preflights = {
            sample.labels["passed"]: sample.value
            for family in self.counted.collect()
            for sample in family.samples
            if sample.name == "tollgate_preflights_total"
        }
        if every := sum(preflights.values()):
            yield GaugeMetricFamily(
                "tollgate_preflights_passed_percent",
                "Percent of the pre-flights since the server started that passed.",
                value=100 * preflights.get("true", 0.0) / every,
            )


@cache
def registry() -> CollectorRegistry:
    """All workers' figures where they share a folder (the server sets it), else this process's."""
    together: CollectorRegistry = REGISTRY
    counted: Collector = counters.PREFLIGHTS
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        together = CollectorRegistry()
        counted = MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    together.register(FromDatabase())
    together.register(Shares(counted))
    return together


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """For the networks in METRICS_NETWORKS, and for tokens with the scope `read`."""
    address = client_address(request)
    if not in_networks(address, tuple(settings.METRICS_NETWORKS)):
        try:
            verdict = tokens.judge(token_text(request), address=address, scopes=["read"])
        except Unavailable:
            return HttpResponse(
                "the database does not answer\n", status=503, content_type="text/plain"
            )
        if isinstance(verdict, tokens.TokenRefusal):
            return HttpResponse(
                verdict.error + "\n", status=verdict.status, content_type="text/plain"
            )
    return HttpResponse(generate_latest(registry()), content_type=CONTENT_TYPE_LATEST)
