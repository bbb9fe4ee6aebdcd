"""A Tollgate for tests of programs that use one: in the process, without a socket.

    from tollgate_client.testing import FakeTollgate

    def test_a_report(tollgate_fake: FakeTollgate) -> None:
        tollgate_fake.work_order("weekly-report", usd_per_day="1.00")
        write_report()
        assert tollgate_fake.runs[-1].cost_usd == Decimal("0.031")

It follows the service for runs and their caps, idempotency keys, leases, kill switches and prices;
the same tests run against it and against a real one. It knows no shared limits, features, users or
breakers: `refuse` has it answer any denial.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any, Self

import httpx2

from .fake_state import Denied, FakeOrder, FakeRun, FakeState, price_of, shown
from .sending import LOCAL
from .values import Money, usd

__all__ = ["FakeOrder", "FakeRun", "FakeTollgate"]

URL = "http://tollgate.fake"
TOKEN = "tg_fake"  # noqa: S105  (of nothing)
PATH = re.compile(r"/api/work-orders/runs/([^/]+)/(extend|finish)")


class FakeTollgate:
    """Answers clients with its `url` and `token` while it is open (`with FakeTollgate() as fake`).

    `runs` has every run, in order. The pytest fixture `tollgate_fake` opens one, sets TOLLGATE_URL,
    TOLLGATE_TOKEN and TOLLGATE_AGENT, and fails a test that leaves a run open.
    """

    def __init__(self, url: str = URL) -> None:
        self.url = url
        self.token = TOKEN
        self._state = FakeState()
        self._denial: tuple[Denied, int] | None = None
        self._away = False

    def __enter__(self) -> Self:
        LOCAL[self.url] = httpx2.MockTransport(self._answer)
        return self

    def __exit__(self, *_: object) -> None:
        LOCAL.pop(self.url, None)

    @property
    def runs(self) -> list[FakeRun]:
        self._state.expire()
        return self._state.runs

    def work_order(
        self,
        work_order_id: str,
        *,
        usd_per_day: Money = "2.00",
        runs_per_day: int = 100,
        concurrent: int = 2,
        prices: Mapping[str, tuple[float, float]] | None = None,
    ) -> FakeOrder:
        """Add a work order. `prices`: dollars per million input and output tokens, by model."""
        in_decimal = {
            model: (Decimal(str(one)), Decimal(str(other)))
            for model, (one, other) in (prices or {}).items()
        }
        order = FakeOrder(work_order_id, usd(usd_per_day), runs_per_day, concurrent, in_decimal)
        self._state.orders[work_order_id] = order
        return order

    def refuse(
        self, denial: str, *, after: int = 0, status: int = 429, retry_after: int | None = None
    ) -> None:
        """Refuse every start from now on, once so many more were admitted."""
        refusal = Denied(status, denial, f"refused: {denial}", retry_after=retry_after)
        self._denial = (refusal, len(self._state.runs) + after)

    def stop(self, reason: str = "stopped by the kill switch of everything") -> None:
        """Switch everything off: starts and extensions are refused, finishes are not."""
        self._state.killed = reason

    def lift(self) -> None:
        """Undo `refuse` and `stop`."""
        self._state.killed, self._denial = "", None

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Nobody answers meanwhile."""
        self._away = True
        try:
            yield
        finally:
            self._away = False

    def advance(self, **delta: float) -> None:
        """Put the clock forward: `advance(days=1)`. Leases end, days begin."""
        self._state.ahead += timedelta(**delta)

    def assert_all_settled(self) -> None:
        """Raises AssertionError where a run is open, or was left to the end of its lease."""
        left = [run.id for run in self.runs if run.status in ("running", "expired")]
        if left:
            raise AssertionError(f"runs that were never settled: {', '.join(left)}")

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        if self._away:
            raise httpx2.ConnectError("an outage")
        self._state.expire()
        try:
            status, body, headers = self._handle(request)
        except Denied as denied:
            status, body, headers = denied.status, {"error": denied.error}, denied.headers
        except (ValueError, KeyError, TypeError, ArithmeticError):
            status, body, headers = 400, {"error": "bad input"}, {}
        date = format_datetime(self._state.now(), usegmt=True)
        return httpx2.Response(status, json=body, headers={"Date": date, **headers})

    def _handle(self, request: httpx2.Request) -> tuple[int, dict[str, Any], dict[str, str]]:
        path = request.url.path
        if request.headers.get("authorization") != f"Bearer {self.token}":
            raise Denied(401, "token", "unknown token")
        if request.method == "GET":
            return self._list(path)
        body = json.loads(request.content)
        if path == "/api/work-orders/start":
            return self._start(body, request.headers.get("idempotency-key", ""))
        if path == "/v1/llm/check":
            return self._check(body)
        match = PATH.fullmatch(path)
        if match is None:
            raise Denied(404, "", "not found")
        run = next((run for run in self._state.runs if run.id == match[1]), None)
        if run is None:
            raise Denied(404, "unknown_run", "unknown run")
        if match[2] == "extend":
            self._state.extend(run, body)
            return 200, {**self._now(run), "replayed": False}, {}
        _check_finish(body)
        replayed = self._state.finish(run, body)
        return 200, self._settlement(run), {"Idempotent-Replayed": "true"} if replayed else {}

    def _start(
        self, body: Mapping[str, Any], key: str
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        if body.get("dryRun"):
            return 200, self._dry_run(body), {}
        if (
            self._denial
            and len(self._state.runs) >= self._denial[1]
            and key not in self._state.keys
        ):
            raise self._denial[0]
        run, replayed = self._state.start(body, key)
        today = self._state.of_today(run.order)
        answer = {
            **self._now(run),
            "workOrderId": run.order.id,
            "caps": {
                "runsPerDay": run.order.runs_per_day,
                "usdPerDay": float(run.order.usd_per_day),
            },
            "usage": {
                "runsToday": len(today),
                "usdToday": shown(sum((each.counts_usd for each in today), Decimal(0))),
                "openRuns": sum(each.is_open for each in today),
            },
        }
        if not replayed:
            return 201, answer, {}
        settlement = self._settlement(run) if run.finish_body else None
        answer |= {"replayed": True, "settlement": settlement}
        return 201, answer, {"Idempotent-Replayed": "true"}

    def _dry_run(self, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            _, estimate = self._state.decide(body)
        except Denied as denied:
            if denied.status == 404:
                raise
            denial = denied.headers["Tollgate-Denial"]
            return {"decision": "refused", "reason": denial, "wouldReserveUsd": None}
        return {"decision": "admitted", "reason": None, "wouldReserveUsd": shown(estimate)}

    def _check(self, body: Mapping[str, Any]) -> tuple[int, dict[str, Any], dict[str, str]]:
        usage = {
            "model": body.get("model"),
            "inputTokens": body.get("estimatedInputTokens") or 0,
            "outputTokens": body.get("estimatedOutputTokens") or 0,
        }
        prices = (price_of(usage, order) for order in self._state.orders.values())
        price = next((each for each in prices if each is not None), None)
        return 200, {"estimatedUsd": None if price is None else shown(price)}, {}

    def _list(self, path: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        if path == "/api/work-orders":
            return 200, {"results": [{"id": name} for name in sorted(self._state.orders)]}, {}
        order = path.removeprefix("/api/work-orders/").removesuffix("/runs")
        runs = [self._now(run) for run in reversed(self._state.runs) if run.order.id == order]
        return 200, {"results": runs}, {}

    @staticmethod
    def _now(run: FakeRun) -> dict[str, Any]:
        return {
            "runId": run.id,
            "status": run.status,
            "reservedUsd": shown(run.reserved_usd),
            "leaseExpiresAt": run.lease_expires_at.isoformat(),
        }

    @staticmethod
    def _settlement(run: FakeRun) -> dict[str, Any]:
        ended = run.finished_at or run.lease_expires_at
        return {
            "runId": run.id,
            "workOrderId": run.order.id,
            "status": run.status,
            "costUsd": shown(run.cost_usd),
            "reservedUsd": shown(run.reserved_usd),
            "overrunUsd": shown(max(run.cost_usd - run.reserved_usd, Decimal(0))),
            "startedAt": run.started_at.isoformat(),
            "finishedAt": ended.isoformat(),
        }


def _check_finish(body: Mapping[str, Any]) -> None:
    """Raises ValueError for what the service answers with 400."""
    usage = body.get("usage")
    if body["status"] not in ("success", "error", "cancelled"):
        raise ValueError("a status that no run ends with")
    if (body.get("costUsd") is None) == (usage is None):
        raise ValueError("either costUsd or usage")
    if usage is not None:
        parts = ("cachedInputTokens", "cacheWriteTokens", "cacheWrite1hTokens")
        if sum(int(usage.get(part) or 0) for part in parts) > int(usage["inputTokens"]):
            raise ValueError("parts that exceed their whole")
