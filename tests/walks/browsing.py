"""The browser of the walks, and what each of them asks of a page."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from config.run.scratch import ScratchService
from tests.access.walking import logged_in
from tests.waiting import HANG_SECONDS

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking")
PASSWORD = "correct horse battery"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Django's models are out of reach of this thread meanwhile: an event loop runs in it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        expect.set_options(timeout=HANG_SECONDS * 1000)
        yield browser
        browser.close()


def session_of(person: User) -> str:
    """The cookie of somebody who has logged in, where the form is not what is walked."""
    return logged_in(person).cookies["sessionid"].value


def window_of(
    browser: Browser, service: ScratchService, session: str, width: int = 1280, height: int = 1000
) -> Page:
    """A window in which somebody has logged in; its context is its own, and is to be closed."""
    window = empty_window(browser, width, height)
    window.context.add_cookies([{"name": "sessionid", "value": session, "url": service.url}])
    return window


def empty_window(browser: Browser, width: int = 1280, height: int = 1000) -> Page:
    context = browser.new_context(viewport=ViewportSize(width=width, height=height))
    context.set_default_timeout(HANG_SECONDS * 1000)
    return context.new_page()


def picture(page: Page, name: str) -> None:
    """With WALK_PICTURES=FOLDER, one of the whole page."""
    if folder := os.environ.get("WALK_PICTURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def serious(page: Page) -> list[str]:
    """What axe-core calls serious on this page, each with the element it is about."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:160]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
