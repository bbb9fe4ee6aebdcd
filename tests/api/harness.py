"""A real service with what the tests of the API need in it, and its log lines."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import httpx2
import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from config.run.children import Child
from config.run.scratch import ScratchService, scratch_service
from tests import factories
from tests.waiting import HANG_SECONDS

WORK_ORDER = "nightly-digest"
WRITTEN = (
    "SELECT (SELECT count(*) FROM work_order_runs), (SELECT count(*) FROM operations_events),"
    " (SELECT count(*) FROM change_requests), (SELECT count(*) FROM change_votes),"
    " (SELECT count(*) FROM inference_events), (SELECT count(*) FROM tool_calls),"
    " (SELECT count(*) FROM change_markers), (SELECT count(*) FROM idempotency_records),"
    " (SELECT count(*) FROM work_orders),"
    " (SELECT coalesce(sum(runs * 1000 + open_runs + reserved_usd + settled_usd), 0) FROM counters)"
)


@dataclass
class Api:
    """The service, its tokens by scope, and every line that its processes printed."""

    service: ScratchService
    tokens: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    owner: "psycopg.Connection[Any] | None" = None

    def client(self, name: str | None = "all") -> httpx2.Client:
        """A client with the token of that name; None: with none."""
        headers = {} if name is None else {"Authorization": f"Bearer {self.tokens[name]}"}
        return httpx2.Client(base_url=self.service.url, headers=headers, timeout=HANG_SECONDS)

    def written(self) -> tuple[Any, ...]:
        """Counts and sums that any write of the API changes."""
        return self.sql(WRITTEN)[0]

    def sql(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        """As the owner of the database."""
        if self.owner is None:
            self.owner = psycopg.connect(self.service.owner_url, autocommit=True)
        cursor = self.owner.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else []

    def errors(self) -> list[str]:
        """Log lines of a server error, and lines that are no log line at all (a traceback)."""
        bad = []
        for line in self.lines:
            try:
                level = json.loads(line)["level"]
            except (ValueError, KeyError, TypeError):
                level = "none"
            if level not in ("debug", "info"):
                bad.append(line)
        return bad

    def start(self, client: httpx2.Client, **body: Any) -> httpx2.Response:
        return client.post(
            "/api/work-orders/start",
            json={"workOrderId": WORK_ORDER, "agentName": "agent-1", **body},
        )


@contextmanager
def api_service(
    template: str | None,
    blocker: DjangoDbBlocker,
    *,
    workers: int = 1,
    page_workers: int = 1,
    env: Mapping[str, str] | None = None,
    room: bool = True,
) -> Iterator[Api]:
    """A service with a work order, tokens and a price; `room`: no limit is in the way."""
    lines: list[str] = []

    def keep(child: Child, stream: IO[str]) -> None:
        for line in stream:
            lines.append(line)  # noqa: PERF402  (as they come, not at the end)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Child, "_pass_on", keep)
        environment = {"LOG_LEVEL": "INFO", **(env or {})}
        with scratch_service(
            template=template, workers=workers, page_workers=page_workers, env=environment
        ) as service:
            api = Api(service, lines=lines)
            with factories.inside(service.database, blocker):
                furnish(api, room=room)
            yield api


def furnish(api: Api, *, room: bool) -> None:
    scopes = ("start", "ingest", "read", "killswitch", "request", "admin")
    # A token does nothing that its owner may not do.
    owner = factories.make_user(groups=["operations", "director"])
    for scope in scopes:
        api.tokens[scope] = factories.make_token([scope], owner=owner, name=scope)[1]
    api.tokens["all"] = factories.make_token(scopes, owner=owner, name="all")[1]
    factories.make_agent("digest-1")
    factories.make_price()
    if room:
        factories.make_work_order(
            WORK_ORDER,
            runs_per_day=2_000_000_000,
            usd_per_day="1000000000",
            max_concurrent_runs=100_000,
        )
        factories.lift_limits()
    else:
        factories.make_work_order(WORK_ORDER)
