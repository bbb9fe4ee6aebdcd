"""The requests of a client and the meaning of their answers, as steps (see `steps`)."""

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from .answers import (
    Answer,
    body_of,
    denial_of,
    failure,
    retry_after,
    seconds_until,
    service_now,
)
from .asks import Ask, RefusalMemory
from .errors import (
    TERMINATED,
    AlreadyEnded,
    InvalidRequest,
    Refused,
    StopRun,
    TollgateError,
    Unavailable,
)
from .journal import Entry
from .lease import stop_reason
from .retrying import RETRIED_STATUSES, RetryPolicy
from .room import CONCURRENCY, Place, Room, is_cured_by_waiting
from .steps import Disk, Pause, Send, Steps, Trouble
from .values import Admission, Decision, Extension, Money, Settlement, Usage, usd, usd_text

T = TypeVar("T")
START = "/api/work-orders/start"
CHECK = "/v1/llm/check"
LOST_STATUSES = frozenset({502, 504})  # a gateway has these; the service may have answered
DEFAULT_LEASE_SECONDS = 900
LONGEST_LEASE_SECONDS = 86400.0


class Answered(Exception):
    """An answer that is no success; `failure` says what it means."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Core:
    """One service and one token, as both clients use it. `patience`: seconds."""

    def __init__(
        self,
        url: str,
        *,
        retry: RetryPolicy,
        memory: RefusalMemory | None,
        room: Room,
        patience: float,
    ) -> None:
        self.url = url
        self.retry = retry
        self.memory = memory
        self.room = room
        self.patience = patience
        self.closed = False
        self.terminating = False
        self.unanswered: set[str] = set()  # keys of requests of which the service may know more

    @property
    def is_ending(self) -> bool:
        """Whoever stands in line was woken for that; whoever joins one later looks here."""
        return self.closed or self.terminating

    def exchange(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        within: float | None = None,
    ) -> Steps[Answer]:
        """Send until there is an answer that no retry would change, for `within` seconds at most.

        Raises Answered for an answer that is no success, Unavailable where there is none, and
        StopRun for a start once the program is being terminated.
        """
        begun = time.monotonic()
        attempt = 0
        name = key if key and path == START else ""
        while True:
            attempt += 1
            answer: Answer | None = None
            hint, denial = None, ""
            if self.closed:
                raise Unavailable("the client is closed")
            if self.terminating and path == START:
                raise StopRun(*TERMINATED)
            was_lost = name in self.unanswered
            self.unanswered.add(name)
            try:
                answer = yield Send(path, body, key)
            except Trouble as error:
                trouble, may_be_known = str(error), error.sent or was_lost
            else:
                may_be_known = answer.status in LOST_STATUSES or (answer.status == 503 and was_lost)
            if not may_be_known:
                self.unanswered.discard(name)
            if answer is not None:
                if answer.is_success:
                    return answer
                if answer.status not in RETRIED_STATUSES:
                    raise Answered(answer)
                hint, denial = retry_after(answer), denial_of(answer)
                trouble = denial or f"status {answer.status}"
            elapsed = time.monotonic() - begun
            seconds = self.retry.wait(
                attempt=attempt, elapsed=elapsed, retry_after=hint, denial=denial
            )
            if seconds is None or (within is not None and elapsed + seconds > within):
                if answer is not None:
                    raise Answered(answer)
                raise Unavailable(f"{self.url}: {trouble}, {attempt} attempts")
            if (yield Pause(seconds)) and not (self.terminating and path == START):
                raise Unavailable(f"{self.url}: {trouble}, and the wait was ended")

    def answer(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        within: float | None = None,
    ) -> Steps[Answer]:
        """As `exchange`, with the package's errors."""
        try:
            return (yield from self.exchange(path, body, key=key, within=within))
        except Answered as answered:
            raise failure(answered.answer) from None

    def start(self, ask: Ask, *, key: str) -> Steps[tuple[Admission, float]]:
        """Ask once, without standing in line: the admission, and the lease in seconds.

        `key` is the caller's own idempotency key; "" asks with a fresh one.
        """
        return (yield from self._ask(ask, key=key, sent_key=key or str(uuid.uuid4())))

    def _ask(self, ask: Ask, *, key: str, sent_key: str) -> Steps[tuple[Admission, float]]:
        if self.memory and (known := self.memory.recall(ask, key=key)):
            raise known
        try:
            answer = yield from self.exchange(START, ask.body(), key=sent_key)
        except Answered as answered:
            error = failure(answered.answer)
            if self.memory and isinstance(error, Refused):
                seconds = seconds_until(error.reset_at, answered.answer)
                self.memory.remember(ask, error, seconds=seconds, key=key)
            raise error from None
        replayed = answer.header("Idempotent-Replayed") == "true"
        admission = parsed(lambda data: Admission.parse(data, replayed=replayed), answer)
        return admission, _lease_seconds(ask.lease_seconds, admission.lease_expires_at, answer)

    def admitted(
        self, ask: Ask, *, key: str, sent_key: str, patience: float | None
    ) -> Steps[tuple[Admission, float]]:
        """Ask until there is room, for `patience` seconds (None: the client's) without progress.

        Raises Refused, Unavailable, InvalidRequest, and StopRun once the program is being
        terminated.
        """
        order, room = ask.work_order_id, self.room
        line = (order, ask.model or "")
        limit = self.patience if patience is None else patience
        place: Place | None = None if limit <= 0 or room.is_empty(line) else room.join(line)
        ended, until = room.ended(order), time.monotonic() + limit
        admitted, on_time, refusal = False, False, None
        try:
            if place is not None and not self.is_ending:
                yield from place.wait(until=until, retry_after=None)
            while True:
                if (now_ended := room.ended(order)) != ended:
                    ended, until = now_ended, time.monotonic() + limit
                try:
                    answer = yield from self._ask(ask, key=key, sent_key=sent_key)
                    admitted = True
                    return answer
                except Refused as error:
                    refusal = error
                    if not is_cured_by_waiting(error) or error.remembered:
                        raise
                left, hint = until - time.monotonic(), refusal.retry_after
                if refusal.denial != CONCURRENCY:
                    seconds = room.jitter(1.0 if hint is None else hint)
                    if seconds > left:
                        raise refusal
                    if (yield Pause(seconds)) and not self.terminating:
                        raise refusal
                    continue
                if left <= 0:
                    raise refusal
                if place is None:
                    place = room.join(line)
                if self.is_ending or (room.ended(order) != ended and room.is_first(place)):
                    on_time = True  # that came while this was asked, and nobody was woken
                    continue
                turn = yield from place.wait(until=until, retry_after=hint)
                on_time = not place.was_woken
                if not turn and room.ended(order) == ended:
                    raise refusal
        finally:
            if place is not None:
                room.remove(place, next_asks=not admitted or on_time)

    def enter(
        self,
        ask: Ask,
        *,
        key: str,
        sent_key: str,
        patience: float | None,
        undelivered: Callable[[str], Entry | None],
    ) -> Steps[tuple[Admission, float]]:
        """A run to work in: admitted now, or admitted before and still running."""
        admission, seconds = yield from self.admitted(
            ask, key=key, sent_key=sent_key, patience=patience
        )
        if admission.replayed:
            return (yield from self._take_up(admission, ask, key=sent_key, waiting=undelivered))
        return admission, seconds

    def _take_up(
        self, replay: Admission, ask: Ask, *, key: str, waiting: Callable[[str], Entry | None]
    ) -> Steps[tuple[Admission, float]]:
        """Go on with a run that was admitted before: only where it is running now."""
        if replay.status != "running":
            raise AlreadyEnded.of(replay)
        entry: Entry | None = yield Disk(lambda: waiting(replay.run_id))
        if entry is not None:  # the work is done, and its settlement on its way
            cost = entry.body.get("costUsd")
            raise AlreadyEnded(
                run_id=replay.run_id,
                status=str(entry.body.get("status")),
                cost_usd=None if cost is None else usd(cost),
            )
        try:
            extension, seconds = yield from self.extend(
                replay.run_id, lease_seconds=ask.lease_seconds
            )
        except (Refused, InvalidRequest) as error:
            if error.status in (404, 409) and stop_reason(error) == "finished":
                now, _ = yield from self._ask(ask, key=key, sent_key=key)
                raise AlreadyEnded.of(now) from error
            error.add_note(
                f"Run {replay.run_id} of this idempotency key is open, and may not go on. Whoever "
                "holds it settles it, or the end of its lease does."
            )
            raise
        admission = replace(
            replay,
            reserved_usd=extension.reserved_usd,
            lease_expires_at=extension.lease_expires_at,
        )
        return admission, seconds

    def dry_run(self, ask: Ask) -> Steps[Decision]:
        body = {name: value for name, value in ask.body().items() if name != "leaseSeconds"}
        return parsed(Decision.parse, (yield from self.answer(START, body | {"dryRun": True})))

    def extend(
        self,
        run_id: str,
        *,
        additional_usd: Money | None = None,
        lease_seconds: int | None = None,
        within: float | None = None,
    ) -> Steps[tuple[Extension, float]]:
        body: dict[str, Any] = {}
        if additional_usd is not None:
            body["additionalUsd"] = usd_text(additional_usd)
        if lease_seconds is not None:
            body["leaseSeconds"] = lease_seconds
        path = f"/api/work-orders/runs/{quote(run_id, safe='')}/extend"
        answer = yield from self.answer(path, body, key=str(uuid.uuid4()), within=within)
        extension = parsed(Extension.parse, answer)
        return extension, _lease_seconds(lease_seconds, extension.lease_expires_at, answer)

    def price(self, usage: Usage, *, within: float | None = None) -> Steps[Decimal | None]:
        """At most what the usage costs, by the service's prices; None where it has none.

        The service prices the usage of one model exactly, on finish. This is for runs of which it
        would have to price several: it counts cached input like any other, and what is written to
        a cache at up to twice its price.
        """
        if usage.has_special_parts:
            return None
        written = usage.cache_write_tokens / 4 + usage.cache_write_1h_tokens
        body = {
            "model": usage.model,
            "estimatedInputTokens": usage.input_tokens + int(written) + (written % 1 > 0),
            "estimatedOutputTokens": usage.output_tokens,
        }
        answer = yield from self.answer(CHECK, body, within=within)
        amount = body_of(answer).get("estimatedUsd")
        return None if amount is None else parsed(lambda data: usd(data["estimatedUsd"]), answer)

    def run_ended(self, settlement: Settlement) -> None:
        """Limits have room again."""
        if self.memory and settlement.cost_usd < settlement.reserved_usd:
            self.memory.give_back()
        self.room.run_ended(settlement.work_order_id)

    def page(self, pages: "Pages") -> Steps[list[Mapping[str, Any]]]:
        """The next page of a list."""
        pages.seen.add(pages.following)
        results, pages.following = parsed(_page, (yield from self.answer(pages.following)))
        if pages.following in pages.seen:
            raise Unavailable("a list that begins again")
        return results


@dataclass(slots=True)
class Pages:
    """Where a list is read on; "" at its end."""

    following: str
    seen: set[str] = field(default_factory=set)


def parsed(parse: Callable[[Mapping[str, Any]], T], answer: Answer) -> T:
    """Raises Unavailable for what is not the contract's."""
    try:
        return parse(body_of(answer))
    except TollgateError:
        raise
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unavailable(f"an answer that is not the contract's: {error!r}") from error


def _page(data: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], str]:
    results = data["results"]
    if not isinstance(results, list) or not all(isinstance(each, dict) for each in results):
        raise TypeError("a list was expected")
    # A proxy may have another name for the service than we have: path and query only.
    parts = urlsplit(str(data.get("next") or ""))
    return results, f"{parts.path}?{parts.query}" if parts.path else ""


def _lease_seconds(asked: int | None, expires_at: Any, answer: Answer) -> float:
    """How long the lease holds from now: as asked, or shorter where the service says so."""
    if not answer.header("Date"):
        return float(asked or DEFAULT_LEASE_SECONDS)
    granted = (expires_at - service_now(answer)).total_seconds()
    seconds = granted if asked is None else min(float(asked), granted)
    return float(min(max(1.0, seconds), LONGEST_LEASE_SECONDS))
