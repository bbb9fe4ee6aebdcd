"""Sixty-four clients at once, and for each limit an ask that it has room for seven of."""

import json
import threading
from collections import Counter as Tally
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from pytest_django import DjangoDbBlocker

from config.run.scratch import ScratchService
from tests import factories
from tests.waiting import HANG_SECONDS

CLIENTS = 64
ROUNDS = 10
ROOM = 7
PRICE = Decimal("0.05")


class Connection(HTTPConnection):
    """A keep-alive connection of a client; the standard library's, because it is light."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__(urlsplit(url).netloc, timeout=HANG_SECONDS)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any], str]:
        """Status, body and denial of the answer."""
        self.request("POST", path, json.dumps(body), self.headers)
        answer = self.getresponse()
        return answer.status, json.loads(answer.read()), answer.headers.get("Tollgate-Denial", "")


@dataclass
class Storm:
    """Sixty-four clients, each with a connection of its own, asking at the same moment."""

    service: ScratchService
    blocker: DjangoDbBlocker
    token: str

    def ask(self, bodies: list[dict[str, Any]], keys: list[str] | None = None) -> Tally[Any]:
        barrier = threading.Barrier(len(bodies))

        def one(number: int) -> Any:
            # Half of them by each port.
            desk = Connection((self.service.url, self.service.door_url)[number % 2], self.token)
            if keys:
                desk.headers["Idempotency-Key"] = keys[number]
            desk.connect()
            barrier.wait()
            status, answer, denial = desk.post("/api/work-orders/start", bodies[number])
            desk.close()
            return denial or (answer["runId"] if keys else status)

        with ThreadPoolExecutor(len(bodies)) as pool:
            return Tally(pool.map(one, range(len(bodies))))

    def decides(self) -> bool:
        desk = Connection(self.service.url, self.token)
        ask = {"workOrderId": "nobody-knows-it", "agentName": "a"}
        status, _, _ = desk.post("/api/work-orders/start", ask)
        desk.close()
        return status != 503

    def inside(self) -> Any:
        return factories.inside(self.service.database, self.blocker)


def storm_on(service: ScratchService, blocker: DjangoDbBlocker) -> Storm:
    with factories.inside(service.database, blocker):
        factories.lift_limits()
        factories.make_price("priced")
        return Storm(service, blocker, factories.make_token()[1])


def by_runs(number: int) -> dict[str, Any]:
    name = f"runs-{number}"
    factories.make_work_order(name, runs_per_day=ROOM, max_concurrent_runs=CLIENTS)
    return {"workOrderId": name, "agentName": "a", "estimatedCostUsd": "0.001"}


def by_dollars(number: int) -> dict[str, Any]:
    name = f"dollars-{number}"
    # Room for seven, and for all but a billionth of an eighth.
    factories.make_work_order(
        name, usd_per_day=PRICE * ROOM + Decimal("0.04"), max_concurrent_runs=CLIENTS
    )
    return {"workOrderId": name, "agentName": "a", "estimatedCostUsd": str(PRICE)}


def by_global_budget(number: int) -> dict[str, Any]:
    from budgets.usage.today import usage_of_all

    name = f"global-{number}"
    factories.make_work_order(name, usd_per_day="1000.00", max_concurrent_runs=CLIENTS)
    spent = usage_of_all().used_usd.quantize(Decimal("0.01")) + Decimal("0.01")
    factories.set_limit("global", "day", "usd", spent + PRICE * ROOM)
    return {"workOrderId": name, "agentName": "a", "estimatedCostUsd": str(PRICE)}


def by_concurrent_runs(number: int) -> dict[str, Any]:
    name = f"at-once-{number}"
    factories.make_work_order(name, max_concurrent_runs=ROOM)
    return {"workOrderId": name, "agentName": "a", "estimatedCostUsd": "0.001"}


def by_concurrent_runs_of_all(number: int) -> dict[str, Any]:
    from budgets.usage.today import usage_of_all

    name = f"all-at-once-{number}"
    factories.make_work_order(name, max_concurrent_runs=CLIENTS)
    factories.set_limit("global", "open", "runs", usage_of_all().open_runs + ROOM)
    return {"workOrderId": name, "agentName": "a", "estimatedCostUsd": "0.001"}


def shared(scope: str, window: str, measure: str, field: str = "") -> Callable[[int], Any]:
    """A limit of each subject, with room for seven; every storm has a subject of its own."""

    def prepare(number: int) -> dict[str, Any]:
        name = f"{scope}-{window}-{measure}-{number}"
        factories.make_work_order(
            name, usd_per_day="1000.00", max_concurrent_runs=CLIENTS, team=name
        )
        rooms = {"usd": PRICE * ROOM + Decimal("0.04"), "tokens": Decimal(100 * ROOM + 99)}
        room = rooms.get(measure, Decimal(ROOM))
        factories.set_limit(scope, window, measure, room)
        ask: dict[str, Any] = {
            "workOrderId": name,
            "agentName": "a",
            "estimatedCostUsd": str(PRICE),
        }
        if measure == "tokens":
            ask |= {"model": "priced", "estimatedInputTokens": 100}
        return ask | ({field: name} if field else {})

    return prepare


def by_cost_dimension(number: int) -> dict[str, Any]:
    """Of the storms before it another dimension is used."""
    from budgets.models import Budget
    from workorders.models import CostDimension

    dimension = CostDimension.values[number % len(CostDimension.values)]
    name = f"dimension-{number}"
    factories.make_work_order(
        name, usd_per_day="1000.00", max_concurrent_runs=CLIENTS, cost_dimension=dimension
    )
    Budget.objects.filter(scope="cost_dimension").update(amount=None)
    spent = spent_by_dimension(dimension)
    factories.set_limit("cost_dimension", "day", "usd", spent + PRICE * ROOM, subject=dimension)
    return {"workOrderId": name, "agentName": "a", "estimatedCostUsd": str(PRICE)}


def spent_by_dimension(dimension: str) -> Decimal:
    from django.db.models import Sum
    from django.db.models.functions import Coalesce

    from workorders.models import Run

    found = Run.objects.filter(cost_dimension=dimension).aggregate(
        all=Sum(Coalesce("cost", "reserved_usd"))
    )["all"]
    return (found or Decimal(0)).quantize(Decimal("0.01")) + Decimal("0.01")


def by_model_tier(number: int) -> dict[str, Any]:
    name = f"tier-{number}"
    factories.make_work_order(name, usd_per_day="1000.00", max_concurrent_runs=CLIENTS)
    factories.set_limit("model_tier", "open", "runs", ROOM, subject="middle")
    ask = {"workOrderId": name, "agentName": "a", "estimatedCostUsd": "0.01"}
    return ask | {"model": "priced"}


def by_feature_throttle(number: int) -> dict[str, Any]:
    from budgets.controls import features

    name = f"throttled-{number}"
    factories.make_work_order(name, usd_per_day="1000.00", max_concurrent_runs=CLIENTS)
    features.change(name, {"requests_per_period": ROOM}, reason="a test", by="test")
    ask = {"workOrderId": name, "agentName": "a", "estimatedCostUsd": "0.01"}
    return ask | {"feature": name, "userId": "u"}


def by_dollars_of_the_default(number: int) -> dict[str, Any]:
    """None names an estimate, and a failure at $0 is all the history there is: $0.10 each, as
    $10.00 and 100 runs a day give."""
    from budgets.admission import Caller, FinishTold, StartAsk, finish, start
    from workorders import tokens

    name = f"default-{number}"
    factories.make_work_order(name, usd_per_day="10.00", max_concurrent_runs=2 * CLIENTS)
    caller = Caller(tokens.digest(factories.make_token()[1]), "")
    used = Decimal("10.00") - Decimal("0.10") * ROOM - Decimal("0.04")
    for usd in (Decimal(0), used):
        ask = StartAsk(name, "a", estimated_cost_usd=usd, confirm=True)
        run = msgspec.json.decode(start(ask, caller=caller, idempotency_key="").body)["runId"]
        if not usd:
            finish(UUID(run), FinishTold("error", Decimal(0)), caller=caller)
    return {"workOrderId": name, "agentName": "a"}


def by_cost_cap(left: str) -> Callable[[int], dict[str, Any]]:
    """The cost cap of a feature, with so much more than room for seven."""

    def prepare(number: int) -> dict[str, Any]:
        from budgets.controls import features

        name = f"cost-cap-{left}-{number}"
        factories.make_work_order(name, usd_per_day="1000.00", max_concurrent_runs=CLIENTS)
        cap = PRICE * ROOM + Decimal(left)
        features.change(name, {"cost_cap_usd": cap}, reason="a test", by="test")
        ask = {"workOrderId": name, "agentName": "a", "estimatedCostUsd": str(PRICE)}
        return ask | {"feature": name}

    return prepare


LIMITS: dict[str, tuple[Callable[[int], dict[str, Any]], str]] = {
    "runs": (by_runs, "runs_per_day"),
    "dollars": (by_dollars, "usd_per_day"),
    "the budget of all": (by_global_budget, "budget:global:day"),
    "concurrent runs": (by_concurrent_runs, "concurrency"),
    "concurrent runs of all": (by_concurrent_runs_of_all, "concurrency"),
    "runs of a model tier": (by_model_tier, "concurrency"),
    "requests of a user in 60 s": (
        shared("user", "rolling_minute", "requests", "userId"),
        "user_quota",
    ),
    "tokens of a user a day": (shared("user", "day", "tokens", "userId"), "user_quota"),
    "dollars of a user a month": (shared("user", "month", "usd", "userId"), "user_quota"),
    "surface": (shared("surface", "hour", "usd", "surface"), "budget:surface:hour"),
    "feature": (shared("feature", "rolling_hour", "usd", "feature"), "budget:feature:rolling_hour"),
    "model": (shared("model", "minute", "requests", "model"), "budget:model:minute"),
    "agent": (shared("agent", "day", "usd", "agentName"), "budget:agent:day"),
    "team": (shared("team", "month", "usd"), "budget:team:month"),
    "cost dimension": (by_cost_dimension, "budget:cost_dimension:day"),
    "feature throttle": (by_feature_throttle, "feature_rate"),
    "dollars, by default": (by_dollars_of_the_default, "usd_per_day"),
    "cost cap of a feature": (by_cost_cap("0.00"), "feature_off"),
    "cost cap with some left": (by_cost_cap("0.04"), "feature_rate"),
}
