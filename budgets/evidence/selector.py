"""The evidence for a cap change, from the database: six statements, whatever there is.

A seventh reads the runs of days on which a run could have been displaced. (The price book in memory
may take two more: its version each minute, its rows when it changed.)

Measured at ten million runs, 79,000 of them and 10,000 refusals in the thirty days of the work
order in question, two cores and nothing else running: 0.22 to 0.38 s by the clock, median of
twelve 0.28. Where the caps asked for bind on each of the thirty days, so that all runs are read
and replayed, it was 1.8 s, on a busy machine.
"""

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.utils import timezone

from budgets.approvals import WORK_ORDER
from budgets.evidence import records, risk
from budgets.evidence.cheaper import TokensUsed, alternatives, thresholds
from budgets.evidence.limits import LimitEvidence, limit_evidence
from budgets.evidence.records import CapHistory, Event, Recent, Summary, Window, micros
from budgets.evidence.report import (
    AgentUse,
    Calibration,
    CapEvidence,
    Change,
    Costs,
    Day,
    Today,
    WhatIf,
)
from budgets.evidence.whatif import DAY, Attempt, Caps, DayLog, Retried, dollars, nanos, replay
from budgets.models import ChangeRequest, Measure
from budgets.usage import overview
from opslog.price_book import prices
from opslog.pricing import Usage
from opslog.pricing.money import usd
from workorders.models import WorkOrder

DAYS: Final = 30
AGENTS_SHOWN: Final = 20
NOTHING: Final = {"runs": 0, "cost": 0, "held": 0, "most": 0}


def evidence_for(
    work_order_id: str,
    *,
    new_runs_per_day: int | None,
    new_usd_per_day: Decimal | None,
    now: datetime,
) -> CapEvidence:
    """What must be known to decide on these caps; None leaves a cap as it is.

    The period is today (UTC, by `now`) and the 29 days before it. Raises WorkOrder.DoesNotExist,
    and Unavailable where the price book cannot be read.
    """
    work_order = WorkOrder.objects.get(pk=work_order_id)
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    window = Window(work_order_id, today - timedelta(days=DAYS - 1), now)
    use = overview.use_by_day("work_order", work_order_id, today, days=DAYS)
    caps = Caps(work_order.runs_per_day, nanos(work_order.usd_per_day))
    asked = Caps(
        caps.runs if new_runs_per_day is None else new_runs_per_day,
        caps.usd if new_usd_per_day is None else nanos(new_usd_per_day),
    )
    history = records.read_caps(window, caps)
    events = records.read_events(window)
    book = prices.current_book()
    bands = thresholds(book, now)
    summary = records.read_summary(
        window,
        keys=sorted({each.key for each in events if each.is_attempt} - {""}),
        burst=risk.BURST_RUNS,
    )
    recent = records.read_recent(window, thresholds=bands)
    costs = _costs(summary, recent)
    agents = _agents(summary)
    return CapEvidence(
        work_order_id=work_order_id,
        title=work_order.title,
        at=now,
        since=window.since,
        refusals_since=window.since
        if len(events) < records.EVENTS_READ
        else records.moment(events[0].at),
        changes=_changes(caps, asked, history, now),
        run_cap_class=risk.run_cap_class(asked.runs),
        run_cap_class_before=risk.run_cap_class(caps.runs),
        today=Today(use[-1].runs, use[-1].usd, risk.risk_band(use[-1].usd)),
        days=_days(use, events),
        costs=costs,
        calibration=_calibration(recent),
        agents=tuple(agents[:AGENTS_SHOWN]),
        agents_left_out=max(0, len(agents) - AGENTS_SHOWN),
        flags=tuple(
            risk.red_flags(
                bursts=[_burst(each) for each in summary.bursts],
                unknown_agents={a.agent: a.unknown_runs for a in agents if a.unknown_runs},
                ended=costs.ended,
                errors=costs.errors,
                average_usd=costs.average_usd,
                max_usd=costs.max_usd,
                use=[(each.day, each.usd) for each in use],
            )
        ),
        what_if=_what_if(window, summary, recent, events, history, asked),
        alternatives=alternatives(
            _tokens(recent, bands),
            book,
            now,
            sampled=recent.figures["settled"],
            period_usd=usd(summary.total("cost")),
        ),
        rows={"wo__id__exact": work_order_id, "started_at__gte": window.since.isoformat()},
    )


def evidence_of(request: ChangeRequest) -> CapEvidence | LimitEvidence | None:
    """What must be known to decide on a request; None where its subject is gone. Raises Unavailable
    where prices cannot be read."""
    if request.subject_type != WORK_ORDER:
        return limit_evidence(request, now=timezone.now())
    asked = {line.measure: line.new for line in request.lines.all()}
    runs = asked.get(Measure.RUNS_PER_DAY)
    try:
        return evidence_for(
            request.subject_id,
            new_runs_per_day=None if runs is None else int(runs),
            new_usd_per_day=asked.get(Measure.USD_PER_DAY),
            now=timezone.now(),
        )
    except WorkOrder.DoesNotExist:
        return None


def snapshot(request: ChangeRequest) -> dict[str, Any]:
    """What stands before the voter, to be kept with the vote. Raises Unavailable as well."""
    evidence = evidence_of(request)
    return {
        "lines": {
            line.measure: {"old": str(line.old), "new": str(line.new)}
            for line in request.lines.all()
        },
        **(evidence.as_json() if evidence else {}),
    }


def _what_if(
    window: Window,
    summary: Summary,
    recent: Recent,
    events: Sequence[Event],
    history: CapHistory,
    asked: Caps,
) -> WhatIf:
    """Replayed by the record first; then again with the runs of the days on which a run could have
    been displaced."""
    rate = nanos(Decimal(recent.figures["cost"])), nanos(Decimal(recent.figures["reserved"]))
    logs = _logs(window, summary, events)
    under_asked = replay(logs, history.periods_under(asked), rate=rate)
    if under_asked.doubtful:
        extensions = [each for each in events if each.kind == records.EXTENDED]
        runs = records.read_runs(window, under_asked.doubtful, extensions)
        logs = [replace(log, columns=runs.get(log.day)) for log in logs]
        under_asked = replay(logs, history.periods_under(asked), rate=rate)
    in_force = replay(logs, history.periods(), rate=rate)
    return WhatIf(under_asked, in_force, not in_force.would_run and not in_force.displaced)


def _changes(caps: Caps, asked: Caps, history: CapHistory, now: datetime) -> tuple[Change, ...]:
    at = micros(now)
    effective = next(each.caps for each in reversed(history.periods()) if each.since <= at)
    return (
        Change(
            Measure.RUNS_PER_DAY, Decimal(caps.runs), Decimal(asked.runs), Decimal(effective.runs)
        ),
        Change(Measure.USD_PER_DAY, dollars(caps.usd), dollars(asked.usd), dollars(effective.usd)),
    )


def _days(use: Sequence[overview.DayOfUse], events: Sequence[Event]) -> tuple[Day, ...]:
    refused: dict[date, dict[str, int]] = defaultdict(dict)
    asked: Tally[tuple[int, str]] = Tally()
    for event in events:
        if event.kind != records.EXTENDED:
            asked[event.at // DAY, event.reason] += event.times
    for (nth, reason), times in asked.items():
        refused[records.day_of(nth * DAY)][reason] = times
    return tuple(Day(each.day, each.runs, each.usd, refused[each.day]) for each in use)


def _logs(window: Window, summary: Summary, events: Sequence[Event]) -> list[DayLog]:
    """The period's asks, day by day."""
    attempts: dict[int, list[Attempt]] = defaultdict(list)
    for each in events:
        if each.is_attempt:
            attempts[each.at // DAY].append(
                Attempt(each.at, each.key, each.estimate, each.runs_then, each.used_then)
            )
    retried: dict[int, list[Retried]] = defaultdict(list)
    for run in summary.retried:
        retried[run.at // DAY].append(run)
    logs = []
    first = micros(window.since) // DAY
    for nth in range(first, first + DAYS):
        day = records.day_of(nth * DAY)
        sums = summary.days.get(day, NOTHING)
        logs.append(
            DayLog(
                day,
                sums["runs"],
                nanos(Decimal(sums["cost"] + sums["held"])),
                nanos(Decimal(sums["most"])),
                attempts[nth],
                retried[nth],
            )
        )
    return logs


def _costs(summary: Summary, recent: Recent) -> Costs:
    ended, errors = summary.total("ended"), summary.total("errors")
    largest = [day["max_cost"] for day in summary.days.values() if day["max_cost"] is not None]
    p95 = recent.figures["p95"]
    return Costs(
        summary.total("runs"),
        ended,
        errors,
        errors / ended if ended else None,
        usd(Decimal(summary.total("cost")) / ended) if ended else None,
        None if p95 is None else usd(p95),
        recent.figures["sampled"],
        usd(max(largest)) if largest else None,
    )


def _calibration(recent: Recent) -> Calibration:
    figures = recent.figures
    return Calibration(
        figures["sampled"],
        float(figures["cost"] / figures["reserved"]) if figures["reserved"] else None,
        None if figures["ratio_p50"] is None else float(figures["ratio_p50"]),
        None if figures["ratio_p95"] is None else float(figures["ratio_p95"]),
        figures["overruns"],
        usd(figures["overrun"]),
    )


def _agents(summary: Summary) -> list[AgentUse]:
    """Each agent's runs, the busiest first."""
    agents = [
        AgentUse(a["agent"], a["runs"], a["errors"], a["unknown"], usd(a["cost"]))
        for a in summary.agents
    ]
    return sorted(agents, key=lambda each: (-each.runs, each.agent))


def _burst(found: Mapping[str, Any]) -> risk.Burst:
    begins = datetime.fromisoformat(found["hour"])
    ends = begins + timedelta(hours=1)
    return risk.Burst(found["agent"], found["runs"], begins.isoformat(), ends.isoformat())


def _tokens(recent: Recent, bands: Sequence[int]) -> list[TokensUsed]:
    above = [0, *bands]
    return [
        TokensUsed(
            t["model"],
            above[t["band"]],
            t["runs"],
            usd(t["cost"]),
            Usage(
                t["input"],
                t["output"],
                cached_input_tokens=t["cached"],
                reasoning_tokens=t["reasoning"],
                cache_write_tokens=t["written"],
                cache_write_1h_tokens=t["written_1h"],
            ),
        )
        for t in recent.tokens
    ]
