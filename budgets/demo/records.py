"""The demo's history as rows: runs, counters, statistics and their events."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db.backends.utils import CursorWrapper

from budgets.approvals.wording import changes_of, number
from budgets.demo.cast import Job, Raise
from budgets.demo.history import LEASE_SECONDS, History, PastRefusal, PastRun
from budgets.models import ChangeLine
from opslog.pricing.money import usd_text
from workorders.models import ServiceToken


@dataclass(frozen=True, slots=True)
class EventRow:
    at: datetime
    kind: str
    message: str
    owner_id: str
    owner_label: str
    actor: str
    meta: dict[str, Any] = field(default_factory=dict)
    owner_type: str = "work_order"


def token_created(token: ServiceToken, *, at: datetime) -> EventRow:
    return EventRow(
        at,
        "TOKEN_CREATED",
        f"Service token {token.name} made for {token.owner.get_username()}",
        str(token.pk),
        token.name,
        "admin",
        {"prefix": token.prefix, "scopes": token.scopes, "networks": [], "workOrders": []},
        "service_token",
    )


def events(past: History, *, actor: str, token_name: str) -> list[EventRow]:
    """What admission and settlement would have recorded."""
    rows = [_started(run, actor, token_name) for run in past.runs]
    rows += [row for run in past.runs for row in _ended(run, actor)]
    rows += [_refused(refusal, actor, token_name) for refusal in past.refusals]
    return rows


def _started(run: PastRun, actor: str, token_name: str) -> EventRow:
    meta = {
        "woId": run.job.id,
        "woTitle": run.job.title,
        "agentName": run.agent,
        "agentKnown": run.agent_known,
        "runId": str(run.id),
        "sourceIp": run.source_ip,
        "estimatedUsd": usd_text(run.reserved_usd),
        "askKey": run.key,
        "tokenName": token_name,
    }
    message = f"{run.agent} started"
    return _row(run.started_at, "WORK_ORDER_START", message, run.job, actor, meta)


def _ended(run: PastRun, actor: str) -> list[EventRow]:
    meta: dict[str, Any] = {
        "woId": run.job.id,
        "runId": str(run.id),
        "agentName": run.agent,
        "reservedUsd": usd_text(run.reserved_usd),
        "costUsd": usd_text(run.cost),
    }
    cost, reserved = usd_text(run.cost), usd_text(run.reserved_usd)
    if run.status == "expired":
        summary = f"Run of {run.agent} never reported: its lease ended, settled at ${cost}"
        return [_row(run.finished_at, "RUN_EXPIRED", summary, run.job, "tollgate", meta)]
    summary = f"Run of {run.agent} ended with {run.status} at ${cost}"
    more = meta | {"status": run.status, "costNote": "", "expiredCostUsd": None}
    rows = [_row(run.finished_at, "RUN_FINISHED", summary, run.job, actor, more)]
    if run.cost > run.reserved_usd:
        summary = f"Run of {run.agent} cost ${cost} and had reserved ${reserved}"
        more = meta | {"overrunUsd": usd_text(run.cost - run.reserved_usd)}
        rows.append(_row(run.finished_at, "RUN_OVERRUN", summary, run.job, actor, more))
    return rows


SENTENCES = {
    "concurrency": "concurrency limit reached",
    "runs_per_day": "runs/day cap reached",
    "usd_per_day": "budget cap reached",
}


def _refused(refusal: PastRefusal, actor: str, token_name: str) -> EventRow:
    meta = {
        "woId": refusal.job.id,
        "woTitle": refusal.job.title,
        "agentName": refusal.agent,
        "reason": refusal.denial,
        "runsToday": refusal.runs_today,
        "usdToday": usd_text(refusal.usd_today),
        "cap": refusal.cap,
        "estimatedUsd": usd_text(refusal.estimated_usd),
        "askKey": refusal.key,
        "sourceIp": refusal.source_ip,
        "tokenName": token_name,
    }
    message = f"{refusal.agent} refused: {SENTENCES[refusal.denial]}"
    return _row(refusal.at, "RATE_LIMIT_429", message, refusal.job, actor, meta)


def suspensions(jobs: Iterable[Job], *, now: datetime) -> list[EventRow]:
    rows = []
    for job in jobs:
        if job.suspended_days_ago is not None:
            day = now.astimezone(UTC).date() - timedelta(days=job.suspended_days_ago - 1)
            # Just after midnight: the first day without runs.
            at = datetime.combine(day, time(0, 4), UTC)
            meta = {"woId": job.id, "old": "draft", "new": "suspended"}
            meta["reason"] = "Every third run fails: the page it reads has changed"
            message = f"{job.title}: draft → suspended, {meta['reason']}"
            rows.append(_row(at, "WORK_ORDER_SUSPENDED", message, job, "ops2", meta))
    return rows


def created(jobs: Iterable[Job], *, at: datetime) -> list[EventRow]:
    return [
        _row(
            at + timedelta(minutes=n),
            "WORK_ORDER_CREATED",
            f"Work order {job.title} registered",
            job,
            "ops",
            {"woId": job.id, "maxConcurrentRuns": job.concurrent},
        )
        for n, job in enumerate(jobs)
    ]


def cap_change(
    job: Job,
    change: Raise,
    request_id: int,
    lines: Sequence[ChangeLine],
    *,
    asked: datetime,
    decided: datetime,
) -> list[EventRow]:
    """As asking, approving and applying record it."""
    text = ", ".join(
        f"{line.get_measure_display()} {number(line.old)} → {number(line.new)}" for line in lines
    )
    changes = changes_of({line.measure: (line.old, line.new) for line in lines})
    base = {"woId": job.id, "requestId": request_id}
    told_more = base | {"changes": changes, "reason": change.justification}
    applied: dict[str, Any] = told_more | {
        "approvers": [change.approved_by],
        "approver": change.approved_by,
        "approvalLevel": change.level,
        "approvalDate": decided.isoformat(),
    }
    if len(lines) == 1:
        applied |= {"previousCap": number(lines[0].old), "newCap": number(lines[0].new)}
    by = change.approved_by
    return [
        _row(
            asked,
            "CAP_CHANGE_REQUESTED",
            f"{job.title}: {text} asked for",
            job,
            change.asked_by,
            told_more | {"expectedCostImpact": change.impact},
        ),
        _row(
            decided - timedelta(milliseconds=1),
            "CAP_CHANGE_APPROVED",
            f"Request #{request_id} on {job.id} approved by {by}",
            job,
            by,
            base | {"comment": change.comment},
        ),
        _row(decided, "WORK_ORDER_CAP_CHANGE", f"{job.title}: {text}", job, by, applied),
    ]


def _row(
    at: datetime, kind: str, message: str, job: Job, actor: str, meta: dict[str, Any]
) -> EventRow:
    return EventRow(at, kind, message, job.id, job.title, actor, meta)


def write_events(cursor: CursorWrapper, rows: list[EventRow]) -> None:
    """In the order of time, so that ids and times agree. The stamps are switched off here, so the
    database user is named by us."""
    rows.sort(key=lambda row: row.at)
    with cursor.copy(
        "COPY operations_events (created_at, kind, message, owner_type, owner_id, owner_label, "
        "actor, meta, db_user) FROM STDIN"
    ) as copy:
        for row in rows:
            copy.write_row(
                (
                    row.at,
                    row.kind,
                    row.message,
                    row.owner_type,
                    row.owner_id,
                    row.owner_label,
                    row.actor,
                    json.dumps(row.meta),
                    "seed_demo",
                )
            )


COUNTERS = """
INSERT INTO counters AS c (key, scope, subject, "window", starts_at, runs, settled_usd)
SELECT tollgate.counter_key(scope, subject, win, starts_at), scope, subject, win, starts_at, n, usd
FROM unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::bigint[], %s::numeric[])
    AS charged (scope, subject, win, starts_at, n, usd)
ON CONFLICT (key) DO UPDATE
SET runs = c.runs + excluded.runs, settled_usd = c.settled_usd + excluded.settled_usd
RETURNING id, scope, subject, "window", starts_at
"""
STATISTICS = "SELECT tollgate.renew_statistics(array_agg(id)) FROM work_orders"
RUN_COLUMNS = (
    "id, wo_id, agent_name, agent_known, status, reserved_usd, cost, cost_note, day, started_at, "
    "finished_at, lease_expires_at, lease_seconds, model, source_ip, idempotency_key, usage, "
    "token_id, charged_to"
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

CounterKey = tuple[str, str, str, datetime]


def charges(run: PastRun) -> list[CounterKey]:
    """As admission charges a run, but for the minute of its address: that is long over."""
    midnight = datetime.combine(run.day, time(), UTC)
    return [
        ("work_order", run.job.id, "open", EPOCH),
        ("work_order", run.job.id, "day", midnight),
        ("global", "", "open", EPOCH),
        ("global", "", "day", midnight),
    ]


def write_runs(cursor: CursorWrapper, past: History, *, token_id: int) -> None:
    used: dict[CounterKey, tuple[int, Decimal]] = {}
    for run in past.runs:
        for key in charges(run):
            count, dollars = used.get(key, (0, Decimal(0)))
            used[key] = (count + 1, dollars + run.cost)
    columns: list[list[Any]] = [list(column) for column in zip(*used, strict=True)]
    counts, dollars_of = zip(*used.values(), strict=True)
    cursor.execute(COUNTERS, [*columns, list(counts), list(dollars_of)])
    ids = {tuple(row[1:]): row[0] for row in cursor.fetchall()}
    with cursor.copy(f"COPY work_order_runs ({RUN_COLUMNS}) FROM STDIN") as copy:
        for run in past.runs:
            copy.write_row(_run_row(run, token_id, [ids[key] for key in charges(run)]))
    cursor.execute(STATISTICS)


def _run_row(run: PastRun, token_id: int, charged_to: list[int]) -> tuple[Any, ...]:
    usage = {
        "model": run.job.model,
        "inputTokens": run.input_tokens,
        "cachedInputTokens": 0,
        "outputTokens": run.output_tokens,
        "reasoningTokens": 0,
    }
    reported = run.status in ("success", "error") and run.cost <= run.reserved_usd
    return (
        run.id,
        run.job.id,
        run.agent,
        run.agent_known,
        run.status,
        run.reserved_usd,
        run.cost,
        "lease_expired" if run.status == "expired" else "",
        run.day,
        run.started_at,
        run.finished_at,
        run.started_at + timedelta(seconds=LEASE_SECONDS),
        LEASE_SECONDS,
        run.job.model,
        run.source_ip,
        run.key,
        json.dumps(usage) if reported else None,
        token_id,
        charged_to,
    )
