"""`/metrics` for Prometheus: what the processes counted, and what only the database knows."""

import os
from collections.abc import Iterator
from functools import cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from budgets import metrics as _counted  # noqa: F401  (declares what the processes count)
from opslog import authority
from opslog.addresses import client_address, in_networks
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
        for (name, told), value in zip(NAMES, values, strict=False):
            if value is not None:
                yield GaugeMetricFamily(name, told, value=float(value))


@cache
def registry() -> CollectorRegistry:
    """All workers' figures where they share a folder (the server sets it), else this process's."""
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        REGISTRY.register(FromDatabase())
        return REGISTRY
    shared = CollectorRegistry()
    MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
    shared.register(FromDatabase())
    return shared


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
