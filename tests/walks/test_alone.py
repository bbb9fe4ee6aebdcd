"""One person alone, and the pages of the runbooks, in a real browser: wide and narrow, light and
dark."""

from collections.abc import Iterator
from decimal import Decimal

import pyotp
import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect
from pytest_django import DjangoDbBlocker

from config.run.scratch import ScratchService, scratch_service
from tests import factories
from tests.walks.browsing import chromium, picture, serious, session_of, window_of

GROUPS = ("operations", "director", "finance", "vp")
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
LOOKS = [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")]
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


@pytest.fixture(scope="module")
def running(
    pristine_database: str, django_db_blocker: DjangoDbBlocker
) -> Iterator[tuple[ScratchService, Browser, str, int]]:
    """Ann is the only one who signs, has an app, and requested $9.99 a day an hour ago."""
    from allauth.mfa.totp.internal.auth import TOTP
    from django.db import connections

    from budgets import approvals
    from budgets.approvals import solo_operator
    from budgets.controls import features
    from budgets.models import Budget, DimensionBudget

    with scratch_service(template=pristine_database, workers=1) as service:
        with factories.inside(service.database, django_db_blocker):
            ann = factories.make_user("ann", groups=GROUPS, is_staff=True)
            TOTP.activate(ann, SECRET)
            factories.make_work_order("w1", title="Nightly test digest")
            features.change("chat", {"max_rounds": 4}, reason="less", by="ann")
            DimensionBudget.objects.filter(dimension="llm_api").update(monthly_usd=100)
            solo_operator.switch(enabled=True, minutes=60, reason="alone", by="root")
            request = approvals.ask(
                "w1",
                new={"usd_per_day": Decimal("9.99")},
                justification="month end",
                expected_cost_impact="$8 a day",
                by=ann,
            )
            with connections["owner"].cursor() as cursor:
                cursor.execute("ALTER TABLE change_requests DISABLE TRIGGER USER")
                cursor.execute(
                    "UPDATE change_requests SET revised_at = revised_at - %s::interval",
                    ["61 minutes"],
                )
                cursor.execute("ALTER TABLE change_requests ENABLE TRIGGER USER")
            session = session_of(ann)
            at_once = Budget.objects.get(scope="global", window="open").pk
        with chromium() as browser:
            window = window_of(browser, service, session)
            yield service, browser, session, request.pk * 1000 + at_once
            window.context.close()


@pytest.fixture
def page(running: tuple[ScratchService, Browser, str, int]) -> Iterator[Page]:
    service, browser, session, _ = running
    page = window_of(browser, service, session)
    results: list[str] = []
    page.on("pageerror", lambda error: results.append(str(error)))
    yield page
    page.context.close()
    assert results == []


def look(page: Page, url: str, name: str) -> None:
    for width, scheme in LOOKS:
        page.set_viewport_size(ViewportSize(width=width, height=1000))
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.goto(url)
        assert page.evaluate(OVERFLOW) == 0, (name, width)
        assert serious(page) == [], (name, width, scheme)
        picture(page, f"{name}-{width}-{scheme}")


@pytest.mark.parametrize("slug", ["budget-breach", "production-run", "spending-code"])
def test_runbooks(page: Page, running: tuple[ScratchService, Browser, str, int], slug: str) -> None:
    look(page, f"{running[0].url}/admin/runbooks/{slug}/", slug)
    expect(page.get_by_role("status")).to_contain_text("ann may sign what they requested")


def test_why_twenty(page: Page, running: tuple[ScratchService, Browser, str, int]) -> None:
    limit = running[3] % 1000
    look(page, f"{running[0].url}/admin/budgets/budget/{limit}/change/", "limit-at-once")
    expect(page.get_by_text("Why 20 as shipped")).to_be_visible()


def test_a_signature_asks_for_a_code(
    page: Page, running: tuple[ScratchService, Browser, str, int]
) -> None:
    number = running[3] // 1000
    url = f"{running[0].url}/admin/budgets/changerequest/{number}/change/"
    look(page, url, "solo-request")
    expect(page.get_by_text("You sign as the solo operator")).to_be_visible()
    for name in ("legitimate", "reasonable", "optimise"):
        page.check(f"input[name={name}][value=yes]")
    page.fill("#decision [name=comment]", "Looked again an hour later.")
    page.check("input[name=decision][value=approve]")
    page.get_by_role("button", name="Sign this decision").click()
    page.fill("[name=code]", pyotp.TOTP(SECRET).now())
    picture(page, "solo-code")
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text("is approved and applied")).to_be_visible()
    expect(page.get_by_text("solo operator", exact=True)).to_be_visible()
    picture(page, "solo-signed")
