"""The way of a cap change through a real browser, as each person goes it.

Pictures of the stations are written to the folder that WALK_PICTURES names, to be looked at.
"""

from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect
from pytest_django import DjangoDbBlocker

from config.run.scratch import ScratchService
from tests import factories
from tests.waiting import HANG_SECONDS
from tests.walks.browsing import PASSWORD, chromium, empty_window, picture
from workorders.models import WorkOrder

PEOPLE = ("operations", "director", "finance", "vp")
WO = "briefings"


class Walk:
    """The service, a token to ask with, and one browser window per person."""

    def __init__(self, service: ScratchService, browser: Browser, token: str) -> None:
        self.service, self.browser, self.token = service, browser, token
        self.pages: dict[str, Page] = {}
        self.complaints: list[str] = []
        self.asking = ""

    def listen(self, message: ConsoleMessage) -> None:
        """Errors and warnings; the browser's hints on good forms are of type "verbose"."""
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def start(self, usd: str) -> int:
        answer = httpx2.post(
            f"{self.service.url}/api/work-orders/start",
            timeout=HANG_SECONDS,
            headers={"Authorization": f"Bearer {self.token}"},
            json={
                "workOrderId": WO,
                "agentName": "writer",
                "estimatedCostUsd": usd,
                "confirm": True,
            },
        )
        return answer.status_code

    def as_(self, person: str) -> Page:
        """That person's window, logged in."""
        if person not in self.pages:
            page = empty_window(self.browser)
            page.on("console", self.listen)
            page.on("pageerror", lambda error: self.complaints.append(str(error)))
            page.goto(f"{self.service.url}/admin/")
            page.fill("input[name=login]", person)
            page.fill("input[name=password]", PASSWORD)
            page.get_by_role("button", name="Sign in", exact=True).click()
            expect(page.get_by_role("heading", name="The state of the money")).to_be_visible()
            self.pages[person] = page
        return self.pages[person]

    def open(self, person: str, path: str) -> Page:
        page = self.as_(person)
        page.goto(self.service.url + path)
        return page

    def picture(self, person: str, name: str) -> None:
        picture(self.pages[person], name)

    def ask(self, person: str, usd: str) -> str:
        """Ask on the work order's page; gives the address of the request."""
        page = self.open(person, f"/admin/workorders/workorder/{WO}/change/")
        page.get_by_role("link", name="Request a cap change").first.click()
        page.fill("[name=usd_per_day]", usd)
        page.fill("[name=justification]", "Month end: every account gets a briefing.")
        page.fill("[name=expected_cost_impact]", "A few dollars a day, for a week.")
        page.get_by_role("button", name="Check who must approve").click()
        expect(page.get_by_text("It will need")).to_be_visible()
        self.picture(person, f"ask-{usd}")
        page.get_by_role("button", name="Send the request").click()
        page.wait_for_url("**/changerequest/*/change/")
        return page.url.removeprefix(self.service.url)

    def sign(self, person: str, request: str, *, password: bool = False) -> Page:
        page = self.open(person, request)
        for name in ("legitimate", "reasonable", "optimise"):
            page.check(f"input[name={name}][value=yes]")
        page.fill("#decision [name=comment]", "Looked at the thirty days.")
        page.check("input[name=decision][value=approve]")
        self.picture(person, f"sign-{person}")
        page.get_by_role("button", name="Sign this decision").click()
        if password:
            expect(page.get_by_role("heading", name="Confirm it’s you")).to_be_visible()
            self.picture(person, f"confirm-{person}")
            page.fill("[name=password]", PASSWORD)
            page.get_by_role("button", name="Confirm").click()
        return page


@pytest.fixture
def walk(service: ScratchService, django_db_blocker: DjangoDbBlocker) -> Iterator[Walk]:
    with factories.inside(service.database, django_db_blocker):
        for name in PEOPLE:
            user = factories.make_user(name, groups=[name], is_staff=True)
            user.set_password(PASSWORD)
            user.save()
        factories.lift_limits()
        if not WorkOrder.objects.filter(pk=WO).exists():
            factories.make_work_order(WO, title="Customer briefings", max_concurrent_runs=50)
        _, token = factories.make_token(scopes=["start"])
        _, asking = factories.make_token(
            scopes=["request"],
            owner=factories.make_user("operations"),
            created_by=factories.make_user("vp"),
            name="digest-job",
        )
    with chromium() as browser:
        walk = Walk(service, browser, token)
        walk.asking = asking
        yield walk
    assert walk.complaints == []  # nothing in any window's console


def test_a_director_raises_a_cap_and_the_next_start_is_admitted(walk: Walk) -> None:
    assert walk.start("1.50") == 201
    assert walk.start("1.00") == 429
    request = walk.ask("operations", "15.00")

    mine = walk.open("operations", request)
    expect(mine.locator("#decision")).to_have_count(0)
    expect(mine.get_by_text("Nobody approves their own request")).to_be_visible()
    expect(mine.get_by_role("heading", name="What is asked")).to_be_visible()
    assert walk.start("1.00") == 429  # asking changes nothing

    director = walk.sign("director", request)
    expect(director.get_by_text("applied").first).to_be_visible()
    assert walk.start("1.00") == 201
    after = walk.open("director", request)
    walk.picture("director", "applied")
    expect(after.get_by_text("writer").first).to_be_visible()  # the first start after it


def test_over_fifty_dollars_takes_finance_and_vp_and_their_passwords(walk: Walk) -> None:
    request = walk.ask("operations", "60.00")
    finance = walk.sign("finance", request, password=True)
    expect(finance.get_by_text("Your approval of request").first).to_be_visible()
    assert walk.start("30.00") == 429  # one of two
    vp = walk.sign("vp", request, password=True)
    expect(vp.get_by_text("applied").first).to_be_visible()
    assert walk.start("30.00") == 201


def test_break_glass_and_its_review(walk: Walk) -> None:
    page = walk.open("operations", f"/admin/workorders/workorder/{WO}/change/")
    page.get_by_role("link", name="Break-glass").first.click()
    page.fill("[name=runs_per_day]", "5000")
    page.fill("[name=minutes]", "30")
    page.fill("[name=reason]", "The queue of the night must be worked off.")
    walk.picture("operations", "break-glass")
    page.locator("main form button[type=submit], form.tg-card button[type=submit]").first.click()
    expect(page.get_by_text("5,000").first).to_be_visible()
    grants = walk.open("director", "/admin/budgets/grant/?state=unreviewed")
    grants.locator("#result_list a").first.click()
    grants.get_by_role("link", name="Review…").first.click()
    grants.fill("[name=review]", "It was right; the queue had been stuck.")
    walk.picture("director", "review")
    grants.locator("main form button[type=submit], form.tg-card button[type=submit]").first.click()
    expect(grants.get_by_text("It was right").first).to_be_visible()


def test_what_a_program_requests_stands_in_nobodys_way(walk: Walk) -> None:
    """The parties are named, a party sees why; a person takes it over, or sets it aside."""

    def programs(usd: str) -> str:
        answer = httpx2.post(
            f"{walk.service.url}/api/work-orders/{WO}/cap-changes",
            headers={"Authorization": f"Bearer {walk.asking}"},
            json={
                "usdPerDay": usd,
                "justification": "The queue is long.",
                "expectedCostImpact": "$1 a day",
            },
            timeout=HANG_SECONDS,
        )
        assert answer.status_code == 201, answer.text
        return f"/admin/budgets/changerequest/{answer.json()['id']}/change/"

    request = programs("90.00")
    maker = walk.open("vp", request)
    expect(maker.get_by_text("you made the token that requested it")).to_be_visible()
    expect(maker.get_by_text("owns the token that requested it")).to_be_visible()
    expect(maker.locator("#decision")).to_have_count(0)
    walk.picture("vp", "party")

    director = walk.open("director", request)
    director.get_by_role("link", name="Set aside…").click()
    director.fill("[name=reason]", "The job loops.")
    walk.picture("director", "set-aside")
    director.get_by_role("button", name="Set it aside").click()
    expect(director.get_by_text("set aside").first).to_be_visible()

    request = programs("95.00")
    director = walk.open("director", request)
    director.get_by_role("link", name="Take over…").click()
    director.fill("[name=usd_per_day]", "97.00")
    director.fill("[name=justification]", "A little more will do.")
    director.get_by_role("button", name="Save the changed request").click()
    expect(director.get_by_text("Nobody approves their own request")).to_be_visible()
    walk.picture("director", "taken-over")

    director.get_by_role("button", name="Withdraw it").click()
    programs("95.00")
    mine = walk.ask("operations", "99.00")  # the program's is set aside
    expect(walk.open("operations", mine).get_by_text("waiting").first).to_be_visible()
