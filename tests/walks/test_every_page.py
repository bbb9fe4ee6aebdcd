"""What people look at, as each kind of person, in a real browser: nothing that axe-core calls
serious, nothing wider than the window, nothing in the console, no request that leaves the machine.

Every page is looked at by five kinds of people, wide and narrow, light or dark. axe-core, which
takes the most time, judges it once dark and narrow and once light and wide: for the auditor, who
reads every page, and for operations, who may do the most on them, or the first other one to whom
it is open.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Browser, expect
from pytest_django import DjangoDbBlocker

from budgets.controls import breaker
from config.pages.runbooks import RUNBOOKS
from config.run.scratch import ScratchService
from tests import factories
from tests.admin.scene import Scene, make_run, make_scene
from tests.walks.browsing import chromium, picture, serious, session_of, window_of

WIDTHS = (1280, 390)
WINDOWS = {
    "auditor": (390, "dark"),
    "operations": (1280, "light"),
    "director": (1280, "dark"),
    "finance": (390, "light"),
    "administrator": (1280, "light"),
}
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
REFUSED_CONSOLE = "status of 403"  # the browser's own word for a page that is not this person's


def addresses(scene: Scene) -> list[str]:
    """The pages of what happened, of what is spent, and of what is done about it."""
    ids = scene.ids

    def of(model: str) -> list[str]:
        """A list, and one of it."""
        return [
            reverse(f"admin:{model}_changelist"),
            reverse(f"admin:{model}_change", args=[ids[model]]),
        ]

    return [
        reverse("ops-dashboard"),
        reverse("ops-logs"),
        reverse("ops-logs-event", args=[scene.event.pk]),
        reverse("daily-report-page"),
        *of("budgets_monthlyreview"),
        *of("budgets_hotspot"),
        reverse("runbooks"),
        *(reverse("runbook", args=[slug]) for slug in RUNBOOKS),
        *of("opslog_seal"),
        *of("opslog_incident"),
        *of("opslog_inferenceevent"),
        *of("opslog_costpreference"),
        *of("opslog_modelprice"),
        reverse("forecast-page"),
        reverse("burn-rate-page"),
        *of("budgets_alertrule"),
        *of("opslog_outboxmessage"),
        *of("opslog_messagepolicy"),
        reverse("my-notifications"),
        *of("budgets_alert"),
        *of("budgets_accountchange"),
        *of("budgets_costcorrection"),
        *of("workorders_servicetoken"),
    ]


def acts(scene: Scene) -> list[str]:
    """Pages on which something is changed; none of these people may open all of them."""
    token = scene.ids["workorders_servicetoken"]
    correction = scene.ids["budgets_costcorrection"]
    run = make_run(
        scene.work_order, status="success", cost=Decimal("12.50"), finished_at=timezone.now()
    )
    return [
        f"{reverse('admin:budgets_costcorrection_add')}?run={run.pk}",
        reverse("admin:budgets_costcorrection_confirm", args=[correction]),
        reverse("admin:budgets_alertrule_add") + f"?incident={scene.ids['opslog_incident']}",
        reverse("admin:workorders_servicetoken_add"),
        reverse("admin:workorders_servicetoken_rotate", args=[token]),
        reverse("admin:workorders_servicetoken_revoke", args=[token]),
    ]


@dataclass
class Site:
    """The running service, and a cookie for each kind of person."""

    service: ScratchService
    pages: list[str]
    acts: list[str]
    browser: Browser
    cookies: dict[str, str] = field(default_factory=dict)
    judged: set[tuple[str, str]] = field(default_factory=set)


@pytest.fixture(scope="module")
def site(service: ScratchService, django_db_blocker: DjangoDbBlocker) -> Iterator[Site]:
    with factories.inside(service.database, django_db_blocker):
        scene = make_scene()
        breaker.trip("global", "", reason="so that there is a banner", by="ops")
        cookies = {role: session_of(scene.people[role]) for role in WINDOWS}
        pages, to_act = addresses(scene), acts(scene)
    with chromium() as browser:
        yield Site(service, pages, to_act, browser, cookies)


@pytest.mark.parametrize("role", WINDOWS)
def test_everybody_can_read_what_they_may_see(site: Site, role: str) -> None:
    width, theme = WINDOWS[role]
    page = window_of(site.browser, site.service, site.cookies[role], width=width, height=900)
    url = site.service.url
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    console: list[str] = []
    asked: list[str] = []
    page.on("console", lambda m: console.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: console.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    wrong: dict[str, list[str]] = {}
    for address in (*site.pages, *site.acts):
        answer = page.goto(url + address)
        assert answer is not None
        may = (200,) if role == "auditor" and address in site.pages else (200, 403)
        found = [] if answer.status in may else [f"status {answer.status}"]
        if answer.status == 200 and theme == "dark":
            assert page.locator("html.dark").count() == 1
        if (address, theme) not in site.judged:
            found += serious(page)
            site.judged |= {(address, theme)} if answer.status == 200 else set()
            picture(page, f"{role}{address.partition('?')[0].replace('/', '-')}")
        for each in (width, *(other for other in WIDTHS if other != width)):
            page.set_viewport_size({"width": each, "height": 900})
            page.evaluate(
                "new Promise((done) => requestAnimationFrame(() => setTimeout(done, 20)))"
            )
            if (over := page.evaluate(OVERFLOW)) > 0:
                found.append(f"{over} pixels too wide at {each}")
        page.set_viewport_size({"width": width, "height": 900})
        if found:
            wrong[address] = found
    page.context.close()
    assert wrong == {}
    assert [item for item in console if REFUSED_CONSOLE not in item] == []
    assert [each for each in asked if not each.startswith((url, "data:"))] == []


def test_a_narrow_row_of_the_log_names_its_work_order_and_who(site: Site) -> None:
    page = window_of(site.browser, site.service, site.cookies["auditor"], width=390, height=900)
    page.goto(f"{site.service.url}/ops-logs?kind=RATE_LIMIT_429")
    row = page.locator("#log-rows tbody tr").first
    expect(row.get_by_role("link", name="Nightly digest")).to_be_visible()
    expect(row.get_by_text("svc", exact=True)).to_be_visible()
    # The first stop of the keyboard leads past the navigation.
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport(ratio=1)
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")
    page.context.close()
