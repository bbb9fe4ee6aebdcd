"""Signing in with a second factor, in a real browser: an app, recovery codes, a passkey.

The passkey is the browser's own virtual authenticator. Passkeys need a name, so the address is
that of `localhost`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyotp
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect
from pytest_django import DjangoDbBlocker

from config.run.scratch import ScratchService, scratch_service
from tests import factories
from tests.walks.browsing import PASSWORD, chromium, picture, serious

PEOPLE = ("ada", "ben", "cleo", "dot")
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class Walk:
    service: ScratchService
    browser: Browser
    complaints: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.service.url.replace("127.0.0.1", "localhost")

    def window(self, width: int = 1440, scheme: str = "light") -> Page:
        context = self.browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", self.listen)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    def listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def sign_in(self, page: Page, name: str) -> None:
        page.goto(f"{self.url}/admin/")
        page.fill("[name=login]", name)
        page.fill("[name=password]", PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()


@pytest.fixture(scope="module")
def running(
    pristine_database: str, django_db_blocker: DjangoDbBlocker
) -> Iterator[tuple[ScratchService, Browser]]:
    with scratch_service(
        template=pristine_database, workers=1, env={"REQUIRE_MFA": "1"}
    ) as service:
        with factories.inside(service.database, django_db_blocker):
            for name in PEOPLE:
                user = factories.make_user(
                    name, groups=["administrator", "operations"], is_staff=True
                )
                user.set_password(PASSWORD)
                user.save()
        with chromium() as browser:
            yield service, browser


@pytest.fixture
def walk(running: tuple[ScratchService, Browser]) -> Iterator[Walk]:
    walk = Walk(*running)
    yield walk
    for context in walk.contexts:
        context.close()
    assert walk.complaints == []


def is_in(page: Page) -> None:
    expect(page.get_by_role("heading", name="The state of the money")).to_be_visible()


def set_up_app(page: Page) -> tuple[pyotp.TOTP, list[str]]:
    page.get_by_role("link", name="Set up an app").click()
    page.get_by_text("Can’t scan it?").click()
    app = pyotp.TOTP(page.locator("#authenticator_secret").inner_text())
    page.fill("[name=code]", app.now())
    page.get_by_role("button", name="Turn on").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    codes = page.locator("#recovery_codes code").all_inner_texts()
    return app, codes


def authenticator(page: Page) -> None:
    cdp = page.context.new_cdp_session(page)
    cdp.send("WebAuthn.enable")
    cdp.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            }
        },
    )


def test_enrolment_is_forced_and_then_an_app_and_a_recovery_code_sign_in(walk: Walk) -> None:
    page = walk.window()
    walk.sign_in(page, "ada")
    expect(page.get_by_text("Your role requires two-factor authentication")).to_be_visible()
    for elsewhere in ("/admin/", "/ops-logs", "/admin/auth/user/"):
        page.goto(walk.url + elsewhere)
        expect(page.get_by_role("heading", name="Two-factor authentication")).to_be_visible()
    app, codes = set_up_app(page)
    assert len(codes) == 10
    page.get_by_role("link", name="I’ve saved these codes").click()
    is_in(page)

    again = walk.window()
    walk.sign_in(again, "ada")
    expect(again.get_by_role("heading", name="Two-factor authentication")).to_be_visible()
    again.fill("[name=code]", app.now())
    again.get_by_role("button", name="Sign in").click()
    is_in(again)

    later = walk.window()
    walk.sign_in(later, "ada")
    later.fill("[name=code]", codes[3])
    later.get_by_role("button", name="Sign in").click()
    is_in(later)

    # Where one is signed in, and the end of it elsewhere.
    page.goto(f"{walk.url}/account/sessions/")
    expect(page.locator("tbody tr")).to_have_count(3)
    page.get_by_role("button", name="Sign out everywhere else").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    later.goto(f"{walk.url}/admin/")
    expect(later.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_passkey_signs_in_without_a_password_and_confirms(walk: Walk) -> None:
    page = walk.window()
    authenticator(page)
    walk.sign_in(page, "ben")
    page.get_by_role("link", name="Add a passkey").click()
    page.get_by_role("button", name="Add passkey").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    page.goto(f"{walk.url}/admin/")
    is_in(page)

    page.goto(f"{walk.url}/account/logout/")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in with a passkey").click()
    is_in(page)

    # A change of tokens asks who is there; the passkey says so.
    page.goto(f"{walk.url}/admin/workorders/servicetoken/add/")
    expect(page.get_by_role("heading", name="Confirm it’s you")).to_be_visible()
    page.get_by_role("link", name="Use a passkey").click()
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("heading", name="New service token")).to_be_visible()

    # Beside a password it is the second factor.
    page.goto(f"{walk.url}/account/logout/")
    page.get_by_role("button", name="Sign out").click()
    walk.sign_in(page, "ben")
    page.get_by_role("button", name="Use a passkey").click()
    is_in(page)


def test_a_change_of_people_asks_for_the_password_and_goes_on(walk: Walk) -> None:
    first = walk.window()
    walk.sign_in(first, "cleo")
    _, codes = set_up_app(first)

    page = walk.window()
    walk.sign_in(page, "cleo")
    page.fill("[name=code]", codes[0])
    page.get_by_role("button", name="Sign in").click()
    is_in(page)
    page.goto(f"{walk.url}/admin/auth/user/add/")
    expect(page.get_by_role("heading", name="Confirm it’s you")).to_be_visible()
    page.fill("[name=password]", "not this")
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text("That is not your password.")).to_be_visible()
    page.fill("[name=password]", PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    page.wait_for_url("**/admin/auth/user/add/")
    page.goto(f"{walk.url}/admin/workorders/servicetoken/add/")  # for a while it is enough
    expect(page.get_by_role("heading", name="New service token")).to_be_visible()


OWN_PAGES = {
    "factors": "factors/",
    "passkey": "factors/passkeys/add/",
    "passkeys": "factors/passkeys/",
    "new-codes": "factors/recovery-codes/new/",
    "codes": "factors/recovery-codes/",
    "sessions": "sessions/",
    "password": "password/",
    "confirm-code": "confirm/code/",
    "sign-out": "logout/",
    "inactive": "inactive/",
}
CODES: list[str] = []  # of whoever looks at the pages


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_everybody_can_read_these_pages(walk: Walk, width: int, scheme: str) -> None:
    page = walk.window(width, scheme)
    wrong: dict[str, list[str]] = {}

    def look(name: str) -> None:
        picture(page, f"{name}-{width}-{scheme}")
        found = serious(page)
        if (over := page.evaluate(OVERFLOW)) > 0:
            found.append(f"{over} pixels too wide")
        if found:
            wrong[name] = found

    page.goto(f"{walk.url}/account/login/")
    look("sign-in")
    page.fill("[name=login]", "nobody")
    page.fill("[name=password]", "wrong")
    page.get_by_role("button", name="Sign in", exact=True).click()
    look("sign-in-wrong")
    walk.sign_in(page, "dot")
    page.wait_for_url(lambda url: url.endswith(("/account/factors/", "/account/login/code/")))
    if page.url.endswith("/factors/"):
        look("forced")
        page.goto(f"{walk.url}/account/factors/app/add/")
        look("app")
        page.goto(f"{walk.url}/account/factors/")
        CODES.extend(set_up_app(page)[1])
        look("codes-shown")
    else:
        look("code")
        page.fill("[name=code]", CODES.pop())
        page.get_by_role("button", name="Sign in").click()
        is_in(page)
        page.goto(f"{walk.url}/account/confirm/")
        look("confirm")
        page.fill("[name=password]", PASSWORD)
        page.get_by_role("button", name="Confirm").click()
    for name, path in OWN_PAGES.items():
        page.goto(f"{walk.url}/account/{path}")
        look(name)
    assert wrong == {}
