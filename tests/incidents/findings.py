"""Verdicts and telemetry for tests: what the triage would hand over, and the hours behind it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from django.utils import timezone

from opslog.incidents import queries
from opslog.incidents.detecting import record_verdict
from opslog.incidents.finding import Contribution, Evidence, Figure, Finding, Parts, Suspect
from opslog.models import Incident, Mitigation
from opslog.triage.data import Change
from opslog.triage.verdict import Ranked

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOW = timezone.now()
WHY = "it burns"
BACKEND = "django.contrib.auth.backends.ModelBackend"
HOUR = timedelta(hours=1)
NORMAL = Decimal("4.00")
INSERT = """
INSERT INTO inference_events (created_at, feature, model, user_id, trigger_type, input_tokens,
    output_tokens, cost_usd)
SELECT h.hour + n * interval '3 seconds', %(feature)s, 'gpt-4o-mini', 'user-' || n %% 7,
    'user_request', %(tokens)s, 200, h.usd / %(calls)s
FROM unnest(%(hours)s::timestamptz[], %(usd)s::numeric[]) h (hour, usd),
    generate_series(0, %(calls)s - 1) n
"""


def whole_hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def make_finding(*, until: datetime, cost: str = "20.00", **fields: Any) -> Finding:
    """A spike of the feature `summaries` in the three hours before `until`."""
    usd = Decimal(cost)
    excess = usd - NORMAL
    sql = queries.of(until - 3 * HOUR, until, "summaries")
    columns: dict[str, Any] = {
        "started_at": until - 3 * HOUR,
        "until": until,
        "cause": "context_bloat",
        "confidence": 0.91,
        "baseline_usd_per_hour": NORMAL,
        "cost_usd_per_hour": usd,
        "excess_usd_total": excess * 3,
        "contributions": (
            Contribution("traffic_growth", "more requests", Decimal("-0.50")),
            Contribution("context_bloat", "longer input in summaries", excess),
            Contribution("output_growth:chat", "longer output in chat", Decimal("0.50")),
        ),
        "feature": "summaries",
        "sentences": (
            "Input tokens a request went from 900 to 5,400, while requests stayed the same.",
            "The context grows within sessions: the last request is 6 times as long as the first.",
        ),
        "ranked": (
            Ranked("context_bloat", 0.91, "summaries"),
            Ranked("traffic_growth", 0.04),
        ),
        "evidence": (
            Evidence(
                "confirm",
                "Three hours in a row lie over 20 % above the baseline.",
                (Figure("cost an hour", "$4.00", f"${usd:,.2f}"),),
                sql["confirm"],
            ),
            Evidence(
                "tokens",
                "Input tokens a request are six times what they were.",
                (Figure("average input", "900", "5,400"), Figure("p95 input", "1,800", "12,000")),
                sql["tokens"],
            ),
        ),
        "changes": (Change(until - 3 * HOUR, "prompt_template", "summaries v12", "summaries"),),
        "parts": Parts(
            feature_usd=excess + Decimal(1),
            normal_feature_usd=Decimal(1),
            requests=1200,
            users=7,
            suspects=(Suspect("user", "u-17", excess / 2, Decimal("0.10")),),
        ),
    }
    return Finding(**{**columns, **fields})


def tell_hours(
    hours: Mapping[datetime, str | Decimal],
    feature: str = "summaries",
    *,
    input_tokens: int = 900,
    calls: int = 20,
) -> None:
    """Calls of a feature that cost so many dollars in each of these hours."""
    with connection.cursor() as cursor:
        since = min(hours).date() - timedelta(days=7)
        cursor.execute("SELECT tollgate.ensure_telemetry_partitions_v1(%s)", [since])
        amounts = [Decimal(usd) for usd in hours.values()]
        data: dict[str, Any] = {"feature": feature, "tokens": input_tokens, "calls": calls}
        cursor.execute(INSERT, {**data, "hours": list(hours), "usd": amounts})


def normal_hours(until: datetime, days: int = 15) -> dict[datetime, Decimal]:
    return {until - n * HOUR: NORMAL for n in range(1, days * 24 + 1)}


def spike(**fields: Any) -> Incident:
    incident = record_verdict(make_finding(until=whole_hour(NOW), **fields), now=NOW)
    assert incident is not None
    return incident


def proposal(incident: Incident, lever: str) -> Mitigation:
    return incident.mitigations.get(lever=lever)
