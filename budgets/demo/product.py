"""The telemetry of the demo: people who use four features of a product, and the release of one of
them that costs more than anybody thought.

Pure and deterministic: the same requests and the same span of time give the same calls.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from budgets.demo.replay.trace import TraceRequest
from opslog.telemetry.drafts import InferenceDraft, ToolDraft

# model, input tokens, output tokens → dollars; None: whoever takes the call computes it
PriceOf = Callable[[str, int, int], Decimal | None]


@dataclass(frozen=True, slots=True)
class Feature:
    """`sessions` begin in a busy hour; `hidden` is the share of calls that nobody asked for."""

    name: str
    model: str
    agent: str
    sessions: int
    turns: tuple[int, int]
    tools: tuple[str, ...] = ()
    hidden: float = 0.04
    hidden_trigger: str = "retry"
    by_clock: bool = False  # no people: the same all day and all week


FEATURES = (
    Feature("chat-assistant", "gpt-4o-mini", "assistant", 14, (1, 5), ("search", "fetch_page")),
    Feature("doc-editor", "gpt-4o-mini", "editor", 9, (2, 6), (), 0.3, "auto_save"),
    Feature("code-help", "gpt-4o", "coder", 4, (1, 4), ("read_file", "run_tests"), 0.06),
    Feature("event-analysis", "gpt-4o-mini", "analyst", 6, (1, 1), by_clock=True),
)
# What the triage of the demo finds. The release went out shortly before these whole hours began.
RELEASE = "doc-editor 3.2: suggestions while typing"
RELEASED = replace(FEATURES[1], sessions=80, turns=(3, 8), hidden=0.85, hidden_trigger="undo")
RELEASE_HOURS = 4
TOOL_FAILS = 0.05
BROWSERS = ("Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (Macintosh)", "Mozilla/5.0 (Windows)")
USERS = 120
# Of a working day, hour by hour in UTC; the night is never quite empty.
BUSY = (2, 2, 2, 2, 3, 5, 20, 45, 75, 95, 100, 95, 70, 85, 100, 95, 85, 60, 35, 20, 12, 8, 5, 3)
WEEKEND = 0.35


def calls_between(
    since: datetime, until: datetime, requests: Sequence[TraceRequest], *, price: PriceOf
) -> tuple[list[InferenceDraft], list[ToolDraft]]:
    """What was called by sessions that began in [since, until), which is an hour at most."""
    rng = random.Random(since.isoformat())
    events: list[InferenceDraft] = []
    tools: list[ToolDraft] = []
    share = BUSY[since.hour] / 100 * (WEEKEND if since.weekday() >= 5 else 1)
    hours = (until - since) / timedelta(hours=1)
    for feature in FEATURES:
        wanted = feature.sessions * hours * (1 if feature.by_clock else share)
        count = int(wanted) + (rng.random() < wanted % 1)
        for _ in range(count):
            begins = since + rng.random() * (until - since)
            _session(feature, begins, requests, rng, price, events, tools)
    return events, tools


def calls_of_the_release(
    since: datetime, until: datetime, requests: Sequence[TraceRequest], *, price: PriceOf
) -> list[InferenceDraft]:
    """What the release adds: each suggestion that is not wanted is undone, and undo asks again."""
    rng = random.Random(f"release {since.isoformat()}")
    events: list[InferenceDraft] = []
    for _ in range(round(RELEASED.sessions * ((until - since) / timedelta(hours=1)))):
        begins = since + rng.random() * (until - since)
        _session(RELEASED, begins, requests, rng, price, events, [])
    return events


def _session(
    feature: Feature,
    begins: datetime,
    requests: Sequence[TraceRequest],
    rng: random.Random,
    price: PriceOf,
    events: list[InferenceDraft],
    tools: list[ToolDraft],
) -> None:
    session = f"s-{rng.getrandbits(48):012x}"
    user = "" if feature.by_clock else f"u-{min(int(rng.expovariate(0.03)), USERS)}"
    first = rng.choice(requests)
    at, trigger = begins, "scheduled" if feature.by_clock else "user_request"
    for turn in range(rng.randint(*feature.turns)):
        # Earlier messages of the session are sent again.
        given, made = (
            int(first.input_tokens * (1 + 0.12 * turn)),
            rng.choice(requests).output_tokens,
        )
        if turn and rng.random() < feature.hidden:
            trigger = feature.hidden_trigger
        name = f"{session}-{turn}"
        events.append(
            InferenceDraft(
                event_id=name,
                created_at=at,
                model=feature.model,
                feature=feature.name,
                trigger_type=trigger,
                user_id=user,
                agent_name=feature.agent,
                session_id=session,
                surface="batch" if feature.by_clock else "web",
                user_agent="" if feature.by_clock else BROWSERS[len(user) % len(BROWSERS)],
                input_tokens=given,
                cached_input_tokens=given // 3 if turn else 0,
                output_tokens=made,
                cost_usd=price(feature.model, given, made),
                success=rng.random() > 0.01,
            )
        )
        trigger = "user_request"
        if feature.tools and rng.random() < 0.5:
            tools += _tool_calls(feature, events[-1], rng)
            trigger = "tool_result"
        at += timedelta(seconds=rng.uniform(4, 40))


def _tool_calls(
    feature: Feature, asked_by: InferenceDraft, rng: random.Random
) -> Iterator[ToolDraft]:
    """One tool, tried again once where it failed."""
    tool = rng.choice(feature.tools)
    for attempt in range(2):
        failed = rng.random() < TOOL_FAILS
        assert asked_by.created_at is not None  # noqa: S101  (set above)
        yield ToolDraft(
            event_id=f"{asked_by.event_id}-{tool}-{attempt}",
            created_at=asked_by.created_at + timedelta(seconds=1 + attempt),
            tool_name=tool,
            success=not failed,
            retries=attempt,
            duration_ms=int(rng.uniform(40, 900)),
            inference_event_id=asked_by.event_id,
            user_id=asked_by.user_id,
            feature=feature.name,
            agent_name=feature.agent,
            session_id=asked_by.session_id,
        )
        if not failed:
            return
