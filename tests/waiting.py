"""Waiting for what comes when the machine gets to it: the one place in which a test sleeps.

A busy machine makes everything late and nothing early. So a test waits for a condition, with a
limit that ends a hang and nothing else; and a promise in seconds is shown by the one try that was
in time, not by the first.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

Found = TypeVar("Found")

HANG_SECONDS = 120
PAUSE_SECONDS = 0.02
BEFORE_THE_HOUR = 30  # in seconds: what a test takes that speaks of today or of this hour


def wait_until(condition: Callable[[], Found | None], what: object = "") -> Found:
    """What the condition returned once that was true. `what` is shown where it never is."""
    began = time.monotonic()
    while not (found := condition()):
        assert time.monotonic() - began < HANG_SECONDS, what
        time.sleep(PAUSE_SECONDS)
    return found


async def awaited_until(condition: Callable[[], Found | None], what: object = "") -> Found:
    """As `wait_until`, for a task: the event loop goes on meanwhile."""
    began = time.monotonic()
    while not (found := condition()):
        assert time.monotonic() - began < HANG_SECONDS, what
        await asyncio.sleep(PAUSE_SECONDS)
    return found


def timed(act: Callable[[], Found]) -> tuple[Found, float]:
    """What it returned, and how many seconds that took."""
    began = time.monotonic()
    return act(), time.monotonic() - began


def in_time(seconds: float, act: Callable[[], Found]) -> Found:
    """What the act returned when it first took no longer than that; it is repeated until then.

    What is always late, as without the limit that is tested, never passes.
    """

    def once() -> list[Found]:
        found, took = timed(act)
        return [found] if took <= seconds else []

    return wait_until(once, f"never within {seconds} s")[0]


def stays(condition: Callable[[], object], seconds: float) -> None:
    """The condition holds all the time. (A busy machine only looks less often.)"""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        assert condition()
        time.sleep(PAUSE_SECONDS)


def until_the_hour_has_turned() -> None:
    """Waits, if the next hour is near: what a test wrote "today" would be of yesterday."""

    def is_near() -> bool:
        now = datetime.now(UTC)
        return now.minute == 59 and now.second >= 60 - BEFORE_THE_HOUR

    wait_until(lambda: not is_near())
