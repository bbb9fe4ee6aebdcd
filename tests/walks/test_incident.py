"""A cost spike through a real browser: found, understood, stopped with one click, and reviewed.

Pictures of the stations are written to the folder that WALK_PICTURES names, to be looked at.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TypeVar

import httpx2
import pytest
from django.utils import timezone
from playwright.sync_api import Browser, ConsoleMessage, Page, expect
from pytest_django import DjangoDbBlocker

from config.run.scratch import ScratchService
from opslog.incidents import triage_job, watching
from opslog.models import Incident
from opslog.telemetry import rollup
from tests import factories
from tests.incidents.findings import (
    HOUR,
    normal_hours,
    tell_hours,
    whole_hour,
)
from tests.waiting import HANG_SECONDS
from tests.walks.browsing import PASSWORD, chromium, empty_window, picture

T = TypeVar("T")
WO = "summaries-of-the-day"
CALLS = 200  # an hour, by seven users: more than a throttle to ten each lets through
LONG = 7700  # input tokens: what five times the money buys, where 900 were usual


def triage(now: datetime) -> None:
    """As its job does it."""
    rollup.refresh()
    triage_job.run(now=now)


class Walk:
    def __init__(self, service: ScratchService, blocker: DjangoDbBlocker, token: str) -> None:
        self.service, self.blocker, self.token = service, blocker, token
        self.complaints: list[str] = []

    def start(self) -> tuple[int, str]:
        answer = httpx2.post(
            f"{self.service.url}/api/work-orders/start",
            timeout=HANG_SECONDS,
            headers={"Authorization": f"Bearer {self.token}"},
            json={
                "workOrderId": WO,
                "agentName": "writer",
                "estimatedCostUsd": "0.01",
                "userId": "u-17",
                "feature": "summaries",
            },
        )
        return answer.status_code, answer.headers.get("Tollgate-Denial", "")

    def behind(self, act: Callable[[], T]) -> T:
        """Do this in the service's database: in a thread, since this one drives the browser."""

        def run() -> T:
            with factories.inside(self.service.database, self.blocker):
                return act()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(run).result()

    def listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def log_in(self, browser: Browser) -> Page:
        page = empty_window(browser)
        page.on("console", self.listen)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(f"{self.service.url}/admin/")
        page.fill("input[name=login]", "operations")
        page.fill("input[name=password]", PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        expect(page.get_by_role("heading", name="The state of the money")).to_be_visible()
        return page


@pytest.fixture
def walk(service: ScratchService, django_db_blocker: DjangoDbBlocker) -> Walk:
    now = whole_hour(timezone.now())
    with factories.inside(service.database, django_db_blocker):
        user = factories.make_user("operations", groups=["operations"], is_staff=True)
        user.set_password(PASSWORD)
        user.save()
        factories.lift_limits()
        factories.make_work_order(WO, title="Summaries of the day", max_concurrent_runs=50)
        _, token = factories.make_token(scopes=["start"])
        tell_hours(normal_hours(now - 3 * HOUR), calls=CALLS)
    return Walk(service, django_db_blocker, token)


@pytest.fixture
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def test_a_spike_from_its_arrival_to_its_review(walk: Walk, browser: Browser) -> None:
    now = whole_hour(timezone.now())
    page = walk.log_in(browser)
    page.get_by_role("link", name="Incidents").first.click()
    expect(page.get_by_text("Nothing here yet")).to_be_visible()

    # It arrives, and is found.
    spike = {now - n * HOUR: "20.00" for n in (1, 2, 3)}
    walk.behind(lambda: tell_hours(spike, input_tokens=LONG, calls=CALLS))
    walk.behind(lambda: triage(now + timedelta(minutes=5)))
    page.reload()
    picture(page, "incident-list")
    page.get_by_role("link", name="context grows").first.click()

    # Its cause stands in the first line, and in the sentences, without scrolling.
    heading = page.get_by_role(
        "heading", name="Context grows in summaries: $20.00 an hour, where $4.00 is normal"
    )
    expect(heading).to_be_in_viewport()
    expect(page.get_by_text("Input tokens a request went from 900 to 7,700")).to_be_in_viewport()
    picture(page, "incident-page")
    page.get_by_text("The query behind it").first.click()
    expect(page.get_by_text("FROM inference_hours").first).to_be_visible()

    # One click throttles the feature; the eleventh start of an hour is refused.
    for _ in range(10):
        assert walk.start() == (201, "")
    page.get_by_role("listitem").filter(has_text="Throttle summaries").get_by_role(
        "link", name="Apply…"
    ).click()
    expect(page.get_by_text("none → 10")).to_be_visible()
    picture(page, "incident-apply")
    page.get_by_role("button", name="Throttle it").click()
    expect(page.get_by_text("Applied, and recorded on the incident")).to_be_visible()
    assert walk.start() == (429, "feature_rate")
    expect(page.get_by_text("mitigating").first).to_be_visible()

    # Two normal hours later the job sees that it is over.
    walk.behind(lambda: tell_hours({now: "4.00", now + HOUR: "4.10"}))
    later = now + 2 * HOUR + timedelta(minutes=1)
    assert walk.behind(lambda: watching.watch(now=later)) == (1, 0, 0)
    page.reload()
    expect(page.get_by_text("The checks have passed")).to_be_visible()

    # The review needs all its answers.
    page.get_by_role("link", name="Review and close…").click()
    page.fill("[name=root_cause]", "A prompt that kept the whole history.")
    page.get_by_role("button", name="Close the incident").click()
    expect(page.get_by_text("This field is required").first).to_be_visible()
    picture(page, "incident-review")
    page.check("[name=alert_created][value=yes]")
    page.fill("[name=follow_up_on]", (now + timedelta(days=7)).date().isoformat())
    page.get_by_role("button", name="Close the incident").click()
    expect(page.get_by_text("It is reviewed and closed")).to_be_visible()
    picture(page, "incident-closed")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as Markdown").click()
    assert "A prompt that kept the whole history" in download.value.path().read_text("utf-8")

    assert walk.behind(Incident.objects.get).state == Incident.State.REVIEWED
    assert walk.complaints == []
