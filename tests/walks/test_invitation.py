"""How somebody gets in, through a real browser: an administrator makes the account, the machine
prints a link, the person sets their password, and a second administrator gives them their group.

Each station is looked at wide and narrow, light and dark, and judged by axe-core.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from playwright.sync_api import Browser, Page, ViewportSize, expect
from pytest_django import DjangoDbBlocker

from config.run.scratch import ScratchService
from tests import factories
from tests.walks.browsing import chromium, picture, serious, session_of, window_of

NEW = "a-new-long-password"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
LOOKS = ((1440, "light"), (1440, "dark"), (390, "light"), (390, "dark"))


@pytest.fixture
def cookies(service: ScratchService, django_db_blocker: DjangoDbBlocker) -> dict[str, str]:
    with factories.inside(service.database, django_db_blocker):
        return {
            name: session_of(
                factories.make_user(
                    name, groups=["administrator"], is_staff=True, email=f"{name}@example.com"
                )
            )
            for name in ("ann", "bob")
        }


@pytest.fixture
def window(cookies: dict[str, str]) -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def look(page: Page, name: str) -> None:
    """Nothing serious, nothing wider than the window."""
    for width, theme in LOOKS:
        page.set_viewport_size(ViewportSize(width=width, height=900))
        # A page follows the system's theme when it is opened, and these stay open.
        page.evaluate(
            f"document.documentElement.classList.toggle('dark', {str(theme == 'dark').lower()})"
        )
        page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")
        picture(page, f"{name}-{width}-{theme}")
        assert page.evaluate(OVERFLOW) <= 0, (name, width)
        assert serious(page) == [], (name, width, theme)
    page.set_viewport_size(ViewportSize(width=1280, height=1000))
    page.evaluate("document.documentElement.classList.remove('dark')")


def printed_link(service: ScratchService, person: str) -> str:
    """By the command, as the operator of the machine has it; its path."""
    done = subprocess.run(
        [sys.executable, "manage.py", "account_link", person],
        cwd=settings.BASE_DIR,
        env={**os.environ, **service.env},
        capture_output=True,
        text=True,
        check=True,
    )
    return urlsplit(done.stdout.strip()).path


def test_an_invitation(service: ScratchService, cookies: dict[str, str], window: Browser) -> None:
    url = service.url
    ann = window_of(window, service, cookies["ann"])
    ann.goto(f"{url}/admin/auth/user/add/")
    expect(ann.locator("input[type=password]")).to_have_count(0)
    look(ann, "account-add")
    ann.fill("input[name=username]", "орs2")
    ann.get_by_role("button", name="Save", exact=True).click()
    expect(ann.get_by_text("It mixes Cyrillic and Latin letters.")).to_be_visible()
    ann.fill("input[name=username]", "nora")
    ann.fill("input[name=email]", "nora@example.com")
    ann.get_by_label("operations").check()
    ann.get_by_role("button", name="Save", exact=True).click()
    expect(ann.get_by_text("manage.py account_link nora")).to_be_visible()
    expect(ann.get_by_text("waiting for a second administrator to confirm (bob)")).to_be_visible()
    look(ann, "account-added")
    ann.get_by_role("link", name="nora", exact=True).first.click()
    expect(ann.get_by_text("has no password yet")).to_be_visible()
    look(ann, "account")

    link = printed_link(service, "nora")
    nora = window.new_context(viewport=ViewportSize(width=1280, height=900)).new_page()
    nora.goto(url + link)
    assert link.split("/")[-2] not in nora.url
    look(nora, "link")
    nora.fill("input[name=new_password1]", "short")
    nora.fill("input[name=new_password2]", "short")
    nora.get_by_role("button", name="Set password").click()
    expect(nora.get_by_text("too short")).to_be_visible()
    look(nora, "link-refused")
    nora.fill("input[name=new_password1]", NEW)
    nora.fill("input[name=new_password2]", NEW)
    nora.get_by_role("button", name="Set password").click()
    expect(nora.get_by_text("Your password is set.")).to_be_visible()
    nora.fill("input[name=username], input[name=login]", "nora")
    nora.fill("input[name=password]", NEW)
    nora.press("input[name=password]", "Enter")
    expect(nora.get_by_text("You are in no group yet")).to_be_visible()

    bob = window_of(window, service, cookies["bob"])
    bob.goto(f"{url}/admin/budgets/accountchange/")
    look(bob, "changes")
    bob.get_by_role("link", name="Add nora to operations").click()
    expect(bob.get_by_text("nora@example.com")).to_be_visible()
    look(bob, "change")
    bob.get_by_role("link", name="Confirm…").click()
    expect(bob.get_by_text("You vouch for nora.")).to_be_visible()
    look(bob, "confirm")
    bob.get_by_role("button", name="Confirm", exact=True).click()
    expect(bob.get_by_text("Confirmed: Add nora to operations.")).to_be_visible()
    look(bob, "confirmed")

    nora.goto(f"{url}/admin/")
    expect(nora.get_by_role("heading", name="The state of the money")).to_be_visible()
    nora.goto(url + link)
    expect(nora.get_by_text("This link does not work")).to_be_visible()
    look(nora, "link-void")
    for page in (ann, bob, nora):
        page.context.close()
