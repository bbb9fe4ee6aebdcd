"""The first page and the burn rate while they renew themselves, in a real browser."""

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from playwright.sync_api import Page, expect, sync_playwright
from pytest_django import DjangoDbBlocker

from config.scratch import ScratchService
from tests import factories

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking")
PASSWORD = "correct horse battery"
REFUSAL = """
INSERT INTO operations_events (kind, message, meta)
VALUES ('RATE_LIMIT_429', 'refused', '{"reason": "usd_per_day"}')
"""


@pytest.fixture
def page(service: ScratchService, django_db_blocker: DjangoDbBlocker) -> Iterator[Page]:
    with factories.inside(service.database, django_db_blocker):
        person = factories.make_user("ops", groups=["operations"], is_staff=True)
        person.set_password(PASSWORD)
        person.save()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        window = browser.new_context().new_page()
        window.goto(f"{service.url}/ops-dashboard")
        window.fill("input[name=username]", "ops")
        window.fill("input[name=password]", PASSWORD)
        window.click("button[type=submit]")
        yield window
        browser.close()


def refused(page: Page) -> int:
    return int(page.locator("a.tg-tile", has_text="Refused, 24 h").locator("strong").inner_text())


def refuse(service: ScratchService) -> None:
    with psycopg.connect(service.app_url, autocommit=True) as connection:
        connection.execute(REFUSAL)


def test_it_renews_under_the_hands_of_whoever_uses_it(service: ScratchService, page: Page) -> None:
    expect.set_options(timeout=30_000)
    before = refused(page)
    tile = page.locator("a.tg-tile", has_text="Refused, 24 h")
    page.locator("#card-days details summary, #models-table summary").first.click()
    opened = page.locator("#tg-live details[open]").count()
    tile.focus()
    refuse(service)
    expect(tile.locator("strong")).to_have_text(str(before + 1))
    expect(page.locator("#card-refused")).to_contain_text("budget cap")
    assert "Refused, 24 h" in page.evaluate("document.activeElement.textContent")
    assert page.locator("#tg-live details[open]").count() >= opened > 0
    expect(page.locator("#tg-live-said")).to_contain_text("Renews itself every 5 seconds")


@pytest.mark.parametrize("address", ["/ops-dashboard", "/admin/burn-rate/"])
def test_a_renewal_that_fails_is_told(service: ScratchService, page: Page, address: str) -> None:
    expect.set_options(timeout=30_000)
    page.goto(service.url + address)
    said = page.locator("#tg-live-said")
    live = urlsplit(page.locator("#tg-live").get_attribute("data-url") or "").path
    page.route(f"**{live}", lambda route: route.abort())
    expect(said).to_contain_text("Not renewed since")
    expect(said).to_contain_text("the server does not answer")
    page.unroute(f"**{live}")
    expect(said).to_contain_text("Renews itself every 5 seconds")
    page.context.clear_cookies()
    expect(said).to_contain_text("you are logged out")
