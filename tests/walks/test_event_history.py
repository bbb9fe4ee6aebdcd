"""The event history in a real browser: filters, following, looking on, by keyboard, light and dark.

Pictures are written to the folder that WALK_PICTURES names, to be looked at.
"""

from collections.abc import Iterator

import psycopg
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from config.run.scratch import ScratchService
from tests.walks.browsing import picture, serious, window_of

NOTE = "INSERT INTO operations_events (kind, message, actor) VALUES ('NOTE', %s, 'ops')"
CHANGE = """
INSERT INTO operations_events (kind, message, actor, owner_type, owner_id, meta)
VALUES ('NOTE', %s, 'ops', 'budget', '1', jsonb_build_object('reason', 'quarter end', 'changes',
    jsonb_build_object('amount', jsonb_build_object('old', 40, 'new', %s::int))))
"""
# More than a page is given time for; what is looked for is the oldest.
MANY = """
INSERT INTO operations_events (kind, message, actor, meta)
SELECT 'NOTE', CASE WHEN n = 1 THEN 'a needle' ELSE 'hay ' || n END, 'hay', '{"some": "more hay"}'
FROM generate_series(1, 150000) n
"""


def write(service: ScratchService, statement: str, *params: str) -> None:
    with psycopg.connect(service.app_url, autocommit=True) as connection:
        connection.execute(statement, params or None)


@pytest.fixture
def page(service: ScratchService, sessions: dict[str, str], browser: Browser) -> Iterator[Page]:
    """An auditor's window; anything that the console complains of fails the test."""
    results: list[str] = []
    asked: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            results.append(message.text)

    window = window_of(browser, service, sessions["auditor"])
    window.on("console", listen)
    window.on("pageerror", lambda error: results.append(str(error)))
    window.on("request", lambda request: asked.append(request.url))
    window.goto(f"{service.url}/ops-logs")
    expect(window.get_by_role("heading", name="Everything that happened")).to_be_visible()
    yield window
    window.context.close()
    assert results == []
    assert [url for url in asked if not url.startswith((service.url, "data:"))] == []


def test_filter_and_open(service: ScratchService, page: Page) -> None:
    write(service, NOTE, "Looked into the refusals")
    page.reload()
    page.get_by_label("Actor").fill("ops")
    page.get_by_role("button", name="Show").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{service.url}/ops-logs?actor=ops")  # empty filters stay out
    row = page.locator("#log-rows tbody tr").first
    expect(row).to_contain_text("Looked into the refusals")
    picture(page, "log-filtered")
    row.get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="NOTE")).to_be_visible()
    page.get_by_role("link", name="back to the filtered list").click()
    expect(page).to_have_url(f"{service.url}/ops-logs?actor=ops")


def test_follow_and_pause(service: ScratchService, page: Page) -> None:
    page.goto(f"{service.url}/ops-logs?kind=NOTE")
    tail = page.locator("#log-tail")
    tail.get_by_role("button", name="Follow live").click()
    for number in (1, 2):
        write(service, NOTE, f"Something new {number}")
        expect(page.locator("#log-rows tbody tr").first).to_contain_text(f"Something new {number}")
    expect(tail.get_by_role("status")).to_contain_text("2 new events")
    picture(page, "log-following")
    tail.get_by_role("button", name="Pause").click()
    expect(tail.get_by_role("status")).to_have_text("Paused.")
    rows = page.locator("#log-rows tbody tr").count()
    write(service, NOTE, "While it rests")
    tail.get_by_role("button", name="Follow live").click()
    expect(page.locator("#log-rows tbody tr")).to_have_count(rows + 1)  # each once, none missed


def test_keep_looking(service: ScratchService, page: Page) -> None:
    write(service, MANY)
    page.goto(f"{service.url}/ops-logs?text=needle&actor=hay")
    expect(page.get_by_text("Not everything was looked at.")).to_be_visible()
    picture(page, "log-short")
    page.get_by_role("button", name="Keep looking until found").click()
    expect(page.locator("#log-rows tbody tr")).to_have_count(1)
    status = page.locator("#log-more").get_by_role("status")
    expect(status).to_have_text("1 event found, 150,000 events looked at; that is all there are")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_can_be_read(service: ScratchService, page: Page, theme: str, width: int) -> None:
    for amount in ("50", "60"):
        write(service, CHANGE, "A long message " + "that goes on " * 12, amount)
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    for address in ("/ops-logs", "/ops-logs?kind=NOTE&since=never", "/ops-logs?kind=NOTE"):
        page.goto(service.url + address)
        dark = page.locator("html").evaluate("each => each.classList.contains('dark')")
        assert dark == (theme == "dark")
        assert serious(page) == [], address
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(overflow) <= 0, address
    picture(page, f"log-{theme}-{width}")
    page.locator("#log-rows tbody tr a").first.click()
    expect(page.get_by_role("heading", name="NOTE")).to_be_visible()
    assert serious(page) == []
    picture(page, f"event-{theme}-{width}")
