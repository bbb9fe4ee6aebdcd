"""The first page and the burn rate while they renew themselves, in a real browser."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

from config.run.scratch import ScratchService
from tests.walks.browsing import window_of

REFUSAL = """
INSERT INTO operations_events (kind, message, meta)
VALUES ('RATE_LIMIT_429', 'refused', '{"reason": "usd_per_day"}')
"""


@pytest.fixture
def page(service: ScratchService, sessions: dict[str, str], browser: Browser) -> Iterator[Page]:
    window = window_of(browser, service, sessions["operations"])
    window.goto(f"{service.url}/ops-dashboard")
    yield window
    window.context.close()


def refuse(service: ScratchService) -> None:
    with psycopg.connect(service.app_url, autocommit=True) as connection:
        connection.execute(REFUSAL)


def test_it_renews_under_the_hands_of_whoever_uses_it(service: ScratchService, page: Page) -> None:
    link = page.get_by_role("link", name="refusals, 24 h")
    link.focus()
    refuse(service)
    expect(page.locator("#card-second table")).to_contain_text("budget cap")
    assert page.evaluate("document.activeElement.textContent") == "refusals, 24 h"
    expect(page.locator("#tg-live-status")).to_contain_text("Updates every 5 seconds")


@pytest.mark.parametrize("address", ["/ops-dashboard", "/admin/burn-rate/"])
def test_a_renewal_that_fails_is_told(service: ScratchService, page: Page, address: str) -> None:
    page.goto(service.url + address)
    outcomes = page.locator("#tg-live-status")
    live = urlsplit(page.locator("#tg-live").get_attribute("data-url") or "").path
    page.route(f"**{live}", lambda route: route.abort())
    expect(outcomes).to_contain_text("Not updated since")
    expect(outcomes).to_contain_text("the server does not answer")
    page.unroute(f"**{live}")
    expect(outcomes).to_contain_text("Updates every 5 seconds")
    page.context.clear_cookies()
    expect(outcomes).to_contain_text("you are logged out")
