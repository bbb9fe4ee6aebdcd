"""Writes the demo into an empty database: people, work orders, a token, thirty days of history
and what there was of today.

All in one transaction of the owner, because the past can only be written by whoever may switch off
the stamps of the log: the application's role cannot. The triggers are on again before it commits.
"""

import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, User
from django.db import connections, transaction

from budgets.demo import records
from budgets.demo.cast import JOBS, KNOWN_AGENTS, PEOPLE, SERVICE_OWNER, Job
from budgets.demo.history import PriceOf, decided_at, history
from budgets.demo.product import RELEASE_HOURS, calls_between, calls_of_the_release
from budgets.demo.replay.trace import TraceRequest, read_trace
from budgets.models import CapChange, ChangeLine, ChangeRequest, Measure, Membership, Vote
from opslog.models import InferenceEvent
from opslog.pricing import PriceBook, Usage
from opslog.telemetry.accepting import MOST, accept_inference, accept_tools
from opslog.telemetry.drafts import InferenceDraft, ToolDraft
from workorders import tokens
from workorders.models import Agent, ServiceToken, WorkOrder

TRACE = Path(__file__).with_name("azure2023_code_slice.csv.gz")
OWNER = "owner"
DAYS = 30
# Before the service is there, so that every run has ended and no window of an hour knows one.
QUIET = timedelta(minutes=90)
# What holds the application to the present: the owner, who tells a history, turns it off meanwhile.
GUARDS = (
    ("operations_events", "stamp"),
    ("cap_changes", "stamp"),
    ("work_orders", "guard_caps"),
    ("work_orders", "guard_caps_insert"),
    ("work_orders", "record_change"),
    ("auth_user", "record_account"),
    ("auth_user_groups", "record_account"),
    ("service_tokens", "record_token"),
    ("change_votes", "record_vote"),
)


@dataclass(frozen=True, slots=True)
class Seeded:
    """What is printed once: the passwords and the token are nowhere kept in clear."""

    passwords: dict[str, str]
    token: str
    runs: int
    refusals: int
    calls: int


def is_empty() -> bool:
    return not (User.objects.using(OWNER).exists() or WorkOrder.objects.using(OWNER).exists())


def seed(*, book: PriceBook, now: datetime) -> Seeded:
    """Raises LookupError where a model of the demo has no price in the book."""
    now = now.astimezone(UTC)
    today = now.date()
    days = [today - timedelta(days=ago) for ago in range(DAYS, -1, -1)]
    requests, price = list(read_trace(TRACE)), _priced(book, now)
    past = history(JOBS, requests, days=days, until=now - QUIET, price=price)
    passwords = {person.username: secrets.token_urlsafe(12) for person in PEOPLE}
    with transaction.atomic(using=OWNER), _unguarded():
        people = _people(passwords, now)
        token, text = _token(people[SERVICE_OWNER], now)
        _work_orders(now)
        log = [records.token_created(token, at=now - timedelta(days=DAYS + 1))]
        log += records.created(JOBS, at=now - timedelta(days=DAYS + 1))
        log += records.events(past, actor=SERVICE_OWNER, token_name=token.name)
        for job in JOBS:
            log += _raises(job, people, today=today)
        log += records.suspensions(JOBS, now=now)
        with connections[OWNER].cursor() as cursor:
            records.write_runs(cursor, past, token_id=token.pk)
            records.write_events(cursor, log)
        calls = _telemetry(requests, price, now)
    _count_and_analyze()
    return Seeded(passwords, text, len(past.runs), len(past.refusals), calls)


def _telemetry(requests: Sequence[TraceRequest], price: PriceOf, now: datetime) -> int:
    """The calls of the product until now, through the same door as all others. Returns how many."""
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    events: list[InferenceDraft] = []
    tools: list[ToolDraft] = []
    with connections[OWNER].cursor() as cursor:
        cursor.execute(
            "SELECT tollgate.ensure_telemetry_partitions_v1(current_date - %s)", [DAYS + 2]
        )
    for ago in range(DAYS * 24, -1, -1):
        since = this_hour - timedelta(hours=ago)
        more = calls_between(since, min(since + timedelta(hours=1), now), requests, price=price)
        events += (each for each in more[0] if each.created_at and each.created_at < now)
        tools += (each for each in more[1] if each.created_at and each.created_at < now)
    for ago in range(RELEASE_HOURS, 0, -1):
        since = this_hour - timedelta(hours=ago)
        late = calls_of_the_release(since, since + timedelta(hours=1), requests, price=price)
        events += (each for each in late if each.created_at and each.created_at < now)
    for begin in range(0, len(events), MOST):
        batch = events[begin : begin + MOST]
        accept_inference(
            batch, source=InferenceEvent.Source.API, now=now, any_age=True, using=OWNER
        )
    for begin in range(0, len(tools), MOST):
        accept_tools(tools[begin : begin + MOST], now=now, any_age=True, using=OWNER)
    return len(events)


def _priced(book: PriceBook, now: datetime) -> PriceOf:
    def price(model: str, given: int, made: int) -> Decimal:
        cost = book.cost(model, Usage(given, made), now)
        if cost is None:
            raise LookupError(f"{model} has no price")
        return cost

    return price


def _people(passwords: dict[str, str], now: datetime) -> dict[str, User]:
    # Hashing is slow on purpose; it runs on all cores.
    with ThreadPoolExecutor() as pool:
        hashed = dict(zip(passwords, pool.map(make_password, passwords.values()), strict=True))
    people = {}
    for person in PEOPLE:
        user = User(
            username=person.username,
            email=f"{person.username}@example.com",
            password=hashed[person.username],
            is_staff=True,
            is_superuser=person.group == "administrator",
        )
        user.save(using=OWNER)
        group, _ = Group.objects.using(OWNER).get_or_create(name=person.group)
        user.groups.add(group)
        # As of a month ago, so that their signatures count.
        begun = now - timedelta(days=DAYS + 1)
        Membership.objects.using(OWNER).create(
            person=user, group=group, how=Membership.How.BEFORE, since=begun, counts_from=begun
        )
        people[person.username] = user
    return people


def _token(owner: User, now: datetime) -> tuple[ServiceToken, str]:
    text = tokens.new_text()
    # Without an end, on purpose: the demo's agents run for as long as its data is kept.
    token = ServiceToken(
        name="demo agents",
        prefix=text[: tokens.VISIBLE],
        digest=tokens.digest(text),
        scopes=["ingest", "read", "start"],
        owner=owner,
    )
    token.save(using=OWNER)
    ServiceToken.objects.using(OWNER).filter(pk=token.pk).update(
        created_at=now - timedelta(days=DAYS + 1)
    )
    return token, text


def _work_orders(now: datetime) -> None:
    begun = now - timedelta(days=DAYS + 1)
    Agent.objects.using(OWNER).bulk_create(
        Agent(name=name, description=does, created_at=begun) for name, does in KNOWN_AGENTS.items()
    )
    WorkOrder.objects.using(OWNER).bulk_create(
        WorkOrder(
            id=job.id,
            title=job.title,
            max_concurrent_runs=job.concurrent,
            status="draft" if job.suspended_days_ago is None else "suspended",
            created_at=begun,
        )
        for job in JOBS
    )


def _raises(job: Job, people: dict[str, User], *, today: date) -> list[records.EventRow]:
    """The cap changes of the past, each with its request, its votes and its proof."""
    log: list[records.EventRow] = []
    for change in job.raised:
        work_order = WorkOrder.objects.using(OWNER).get(pk=job.id)
        decided = decided_at(change, today)
        asked = decided - timedelta(hours=2, minutes=5)
        request = ChangeRequest(
            subject_id=job.id,
            status=ChangeRequest.Status.APPLIED,
            requester=people[change.asked_by],
            justification=change.justification,
            expected_cost_impact=change.impact,
            closing_note=change.level,
            created_at=asked,
            expires_at=asked + timedelta(hours=24),
            decided_at=decided,
        )
        request.save(using=OWNER)
        new = {
            Measure.RUNS_PER_DAY: Decimal(change.runs_per_day),
            Measure.USD_PER_DAY: change.usd_per_day,
        }
        old = {
            Measure.RUNS_PER_DAY: Decimal(work_order.runs_per_day),
            Measure.USD_PER_DAY: work_order.usd_per_day,
        }
        lines = [
            ChangeLine(request=request, measure=measure, old=old[measure], new=new[measure])
            for measure in new
            if old[measure] != new[measure]
        ]
        ChangeLine.objects.using(OWNER).bulk_create(lines)
        Vote(
            request=request,
            revision=1,
            voter=people[change.approved_by],
            group=change.level,
            decision=Vote.Decision.APPROVE,
            comment=change.comment,
            created_at=decided,
        ).save(using=OWNER)
        CapChange(
            wo=work_order,
            request=request,
            old_runs_per_day=work_order.runs_per_day,
            new_runs_per_day=change.runs_per_day,
            old_usd_per_day=work_order.usd_per_day,
            new_usd_per_day=change.usd_per_day,
            reason=change.justification,
            by=change.approved_by,
            applied_at=decided,
        ).save(using=OWNER)
        WorkOrder.objects.using(OWNER).filter(pk=job.id).update(
            runs_per_day=change.runs_per_day, usd_per_day=change.usd_per_day
        )
        log += records.cap_change(job, change, request.pk, lines, asked=asked, decided=decided)
    return log


@contextmanager
def _unguarded() -> Iterator[None]:
    """The guards off for this transaction; a failure rolls that back too."""
    with connections[OWNER].cursor() as cursor:
        cursor.execute("SELECT tollgate.ensure_event_partitions_v1(current_date - %s)", [DAYS + 2])
        for table, trigger in GUARDS:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
        yield
        # The stamp that was off numbers what comes next.
        cursor.execute("SELECT setval('event_numbers', max(id)) FROM operations_events")
        # A constraint that is checked late would keep the table busy for the next line.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table, trigger in GUARDS:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER {trigger}")


def _count_and_analyze() -> None:
    with connections[OWNER].cursor() as cursor:
        # The history was written past admission: the counters of shared limits learn of it here.
        cursor.execute("SELECT tollgate.hold_counters()")
        cursor.execute('SELECT tollgate.fill(scope, "window") FROM budgets')
        cursor.execute(
            "ANALYZE work_order_runs, counters, operations_events, inference_events, tool_calls"
        )
