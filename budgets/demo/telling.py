"""Tells the running service what the demo's product calls, as its programs would."""

import logging
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx2
import msgspec

from budgets.demo.product import calls_between
from budgets.demo.replay.trace import TraceRequest
from opslog.telemetry.accepting import MOST

log = logging.getLogger(__name__)

EVERY_SECONDS = 20.0


class Teller(threading.Thread):
    """Sends what happened since the last time, until `stop` is set. What could not be sent is sent
    with the next; the service computes the costs."""

    def __init__(
        self, url: str, token: str, requests: Sequence[TraceRequest], stop: threading.Event
    ) -> None:
        super().__init__(name="teller", daemon=True)
        self._client = httpx2.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=10.0
        )
        self._requests = requests
        self._stop_event = stop
        self._waiting: dict[str, list[Any]] = {"inference-events": [], "tool-calls": []}

    def run(self) -> None:
        since = datetime.now(UTC)
        with self._client:
            while not self._stop_event.wait(EVERY_SECONDS):
                until = datetime.now(UTC)
                events, tools = calls_between(since, until, self._requests, price=unpriced)
                self._waiting["inference-events"] += events
                self._waiting["tool-calls"] += tools
                since = until
                for path in self._waiting:
                    self._send(path)

    def _send(self, path: str) -> None:
        # A session goes on for minutes; later calls are reported when they happen.
        now = datetime.now(UTC)
        due = [draft for draft in self._waiting[path] if draft.created_at <= now][:MOST]
        if not due:
            return
        try:
            answer = self._client.post(
                f"/api/{path}",
                content=msgspec.json.encode(due),
                headers={"Content-Type": "application/json"},
            )
            answer.raise_for_status()
        except httpx2.HTTPError as error:
            log.warning("telemetry of the demo was not taken: %s", error)
            return
        sent = {draft.event_id for draft in due}
        self._waiting[path] = [d for d in self._waiting[path] if d.event_id not in sent]


def unpriced(model: str, given: int, made: int) -> Decimal | None:
    return None
