"""Fifty dollars in two minutes, again: seventy queued tasks, fifteen eager agents, $20 a minute.

Each agent takes a task from the queue and makes its calls one after the other: a start, the call, a
finish. Refused, it asks again at once, as eager programs do. Everything goes over real HTTP to a
server with a database of its own; a safeguard is switched off there and nowhere else. What stopped
the spend is measured: no call is under way, and every agent keeps being refused.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from queue import Empty, SimpleQueue

import httpx2
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Sum
from django.db.models.functions import Coalesce, Greatest

from budgets.demo.replay.fixture import Caps, set_caps
from budgets.models import Budget, CircuitBreaker
from opslog.models import ModelPrice
from workorders import tokens
from workorders.models import Agent, Run, WorkOrder

TASKS = 70
AGENTS = 15
LARGEST_AGENTS = 5  # of the fifteen; the others use a model of the middle tier
CALLS_A_TASK = 12
CALL_SECONDS = 3.0
CALL_USD = Decimal("0.0667")  # so that fifteen agents burn $20 a minute
AGAIN_SECONDS = 0.2  # an eager program's patience
# The spend has stopped once no call is under way and every agent that still has work was refused
# this many times since the last one ended: three seconds of asking in vain.
REFUSALS_THAT_STOP = 15
MODELS = {"incident-largest": "largest", "incident-middle": "middle"}
NO_CAPS = Caps(1_000_000, Decimal(1_000_000), 2)


def orders() -> list[str]:
    """As many as agents, else the first cap would hide the rest."""
    return [f"incident-{number:02}" for number in range(1, AGENTS + 1)]


def furnish() -> str:
    """Fill an empty, migrated database; everything else is as shipped. Returns a token."""
    with transaction.atomic():
        _, token = tokens.create(
            name="incident",
            scopes=["start", "read", "admin"],
            owner=User.objects.create_user("incident"),
            by="incident",
        )
        Agent.objects.bulk_create(Agent(name=f"agent-{n:02}") for n in range(1, AGENTS + 1))
        for name in orders():
            WorkOrder.objects.create(id=name, title=name)
        for model, tier in MODELS.items():
            ModelPrice.objects.create(
                model=model,
                tier=tier,
                input_per_mtok=1,
                output_per_mtok=1,
                effective_from="2020-01-01T00:00:00Z",
            )
    return token


def scale_address_rate(speed: int) -> None:
    """Calls of one address in a minute, where the minutes are so many times as full."""
    limit = Budget.objects.get(scope="address", window="minute")
    if limit.amount is not None:
        Budget.objects.filter(pk=limit.pk).update(amount=limit.amount * speed)


def breaker_off() -> None:
    Budget.objects.filter(scope="global", window="rolling_minute").update(amount=None)
    CircuitBreaker.objects.filter(subject="*").update(recent_runs=None)


def hour_off() -> None:
    Budget.objects.filter(scope="global", window="rolling_hour").update(amount=None)


def caps_off() -> None:
    with transaction.atomic():
        for order in WorkOrder.objects.all():
            set_caps(order, NO_CAPS)


def day_off() -> None:
    Budget.objects.filter(scope="global", window="day", measure="usd").update(amount=None)


@dataclass(frozen=True, slots=True)
class Safeguard:
    """`denial`: what it refuses with. `paced`: it looks at the pace within the minutes that the
    incident takes, so the incident is played at its real pace."""

    name: str
    denial: str
    limit_usd: Decimal
    switch_off: Callable[[], None]
    paced: bool = False


# In the order in which they should stop the incident; each row of the table has those above it off.
SAFEGUARDS = (
    Safeguard("circuit breaker, $5 a minute", "breaker_open", Decimal(5), breaker_off, paced=True),
    Safeguard("rolling hour, $10", "budget:global:rolling_hour", Decimal(10), hour_off),
    Safeguard("work orders, $2 a day each", "usd_per_day", Decimal(2 * AGENTS), caps_off),
    Safeguard("day, $50", "budget:global:day", Decimal(50), day_off),
)
BY_DENIAL = {each.denial: each for each in SAFEGUARDS}


@dataclass(slots=True)
class Story:
    """What one run of the incident came to. Seconds are those of the real pace.

    `stopped_by` has the denials that every agent met once the spend had stopped, the most frequent
    first. It is empty where nothing stopped it: the time was over, or the queue empty (`emptied`).
    """

    off: tuple[str, ...]
    admitted: int = 0
    refused: int = 0
    usd: Decimal = Decimal(0)
    last_admitted_at: float = 0.0
    stopped_by: tuple[str, ...] = ()
    emptied: bool = False
    finished_tasks: int = 0
    denials: dict[str, int] = field(default_factory=dict)

    def outcome(self) -> str:
        """What stopped the spend, in the words of the safeguards; or that nothing did."""
        if self.stopped_by:
            names = (BY_DENIAL[d].name if d in BY_DENIAL else d for d in self.stopped_by)
            return " and ".join(names)
        return "nothing: the queue ran out" if self.emptied else "nothing: the time ran out"

    def passed(self) -> str:
        """The safeguard that refused, and whose amount was passed all the same; empty if none."""
        for denial in self.stopped_by:
            safeguard = BY_DENIAL.get(denial)
            if safeguard is not None and self.usd > safeguard.limit_usd:
                return safeguard.name
        return ""


class Watch:
    """Whether the spend has stopped, as the agents see it. The caller holds the lock."""

    def __init__(self) -> None:
        self.calls = 0  # under way
        self.refusals: dict[int, list[str]] = {agent: [] for agent in range(1, AGENTS + 1)}

    def admitted(self) -> None:
        self.calls += 1
        self._again()

    def ended(self) -> None:
        self.calls -= 1
        self._again()

    def refused(self, agent: int, denial: str) -> None:
        self.refusals[agent].append(denial)

    def done(self, agent: int) -> None:
        self.refusals.pop(agent, None)

    def stopped_by(self) -> tuple[str, ...]:
        refusals = self.refusals.values()
        if self.calls or not refusals or min(map(len, refusals)) < REFUSALS_THAT_STOP:
            return ()
        return tuple(d for d, _ in Counter(d for each in refusals for d in each).most_common())

    def _again(self) -> None:
        for each in self.refusals.values():
            each.clear()


def play(url: str, token: str, *, off: Sequence[str], seconds: float, speed: float = 1) -> Story:
    """Play until something has stopped the spend, the queue is empty, or so many seconds of the
    real pace are over, `speed` times as fast. What was admitted is finished at its cost."""
    story, watch, lock = Story(tuple(off)), Watch(), threading.Lock()
    queue: SimpleQueue[int] = SimpleQueue()
    for number in range(TASKS):
        queue.put(number)
    began = time.monotonic()

    def now() -> float:
        return (time.monotonic() - began) * speed

    def call(client: httpx2.Client, order: str, agent: int, model: str) -> bool:
        """One paid call; False when all was over before it was admitted."""
        body = {
            "workOrderId": order,
            "agentName": f"agent-{agent:02}",
            "model": model,
            "estimatedCostUsd": str(CALL_USD),
        }
        while now() < seconds and not story.stopped_by:
            answer = client.post("/api/work-orders/start", json=body)
            with lock:
                if answer.status_code == 201:
                    watch.admitted()
                    story.admitted += 1
                    story.usd += CALL_USD
                    story.last_admitted_at = now()
                else:
                    denial = answer.headers.get("Tollgate-Denial", str(answer.status_code))
                    watch.refused(agent, denial)
                    story.refused += 1
                    story.stopped_by = story.stopped_by or watch.stopped_by()
                    story.denials[denial] = story.denials.get(denial, 0) + 1
            if answer.status_code == 201:
                time.sleep(CALL_SECONDS / speed)
                client.post(
                    f"/api/work-orders/runs/{answer.json()['runId']}/finish",
                    json={"status": "success", "costUsd": str(CALL_USD)},
                )
                with lock:
                    watch.ended()
                return True
            time.sleep(AGAIN_SECONDS)
        return False

    def work(agent: int) -> None:
        model = list(MODELS)[0 if agent <= LARGEST_AGENTS else 1]
        headers = {"x-api-key": token}
        with httpx2.Client(base_url=url, headers=headers, timeout=30) as client:
            while True:
                try:
                    task = queue.get_nowait()
                except Empty:
                    with lock:
                        watch.done(agent)
                    return
                order = orders()[task % AGENTS]
                for _ in range(CALLS_A_TASK):
                    if not call(client, order, agent, model):
                        return
                with lock:
                    story.finished_tasks += 1

    with ThreadPoolExecutor(AGENTS) as pool:
        list(pool.map(work, range(1, AGENTS + 1)))
    story.emptied = story.finished_tasks == TASKS
    return story


def recorded_usd() -> Decimal:
    """What the server has on record as committed, of a database that is connected to."""
    open_or_ended = Greatest("reserved_usd", Coalesce("cost", Decimal(0)))
    return Run.objects.aggregate(usd=Sum(open_or_ended))["usd"] or Decimal(0)


def preflight(url: str, token: str) -> str:
    """What the look before the start says of the seventy tasks."""
    tasks = [
        {
            "workOrderId": orders()[number % AGENTS],
            "name": f"Test task {number}",
            "estimatedCostUsd": str(CALL_USD * CALLS_A_TASK),
        }
        for number in range(TASKS)
    ]
    answer = httpx2.post(
        f"{url}/api/work-orders/preflight",
        json={"tasks": tasks, "confirm": True},
        headers={"x-api-key": token},
        timeout=60,
    ).raise_for_status()
    failed = [check for check in answer.json()["checks"] if not check["passed"]]
    return "; ".join(f"{check['severity']}: {check['message']}" for check in failed)
