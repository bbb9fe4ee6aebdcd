"""The first page in a real browser: what is drawn, typed and unfolded stays while the page renews
itself, and the tasks of whoever is on call take no more clicks than they should."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx2
import psycopg
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from pytest_django import DjangoDbBlocker

from config.run.scratch import ScratchService
from tests.waiting import HANG_SECONDS
from tests.walks.browsing import picture, serious, window_of

# Pixels with any ink, by canvas; and a sign for each renewal that is over.
INK = """() => [...document.querySelectorAll("canvas")].map((canvas) => {
  const [width, height] = [canvas.width || 1, canvas.height || 1];
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  return data.filter((value, at) => at % 4 === 3 && value).length;
})"""
COUNT_RENEWALS = """() => document.addEventListener("drawn", () => {
  const root = document.documentElement;
  root.dataset.renewed = Number(root.dataset.renewed ?? 0) + 1;
})"""
SMALL, LARGE = "Small summaries", "Large summaries"


@dataclass
class Program:
    service: ScratchService
    token: str

    def start(self, wo: str, usd: str) -> int:
        answer = httpx2.post(
            f"{self.service.url}/api/work-orders/start",
            json={"workOrderId": wo, "agentName": f"{wo}-agent", "estimatedCostUsd": usd},
            headers={"x-api-key": self.token},
            timeout=HANG_SECONDS,
        )
        return answer.status_code


@pytest.fixture(scope="module")
def program(service: ScratchService, django_db_blocker: DjangoDbBlocker) -> Program:
    """Two work orders have spent $0.10 and $0.40 in this minute; a third is suspended."""
    from tests import factories

    with factories.inside(service.database, django_db_blocker):
        factories.lift_limits()
        for wo, title in (("small", SMALL), ("large", LARGE), ("still", "Standing still")):
            made = factories.make_work_order(wo, title=title, max_concurrent_runs=9)
            if wo == "still":
                factories.set_status(made, "suspended")
        token = factories.make_token(("start", "admin"))[1]
    program = Program(service, token)
    assert [program.start("small", "0.10"), program.start("large", "0.40")] == [201, 201]
    return program


@pytest.fixture
def page(program: Program, sessions: dict[str, str], browser: Browser) -> Iterator[Page]:
    """As operations."""
    window = window_of(browser, program.service, sessions["operations"], 1440, 900)
    window.goto(f"{program.service.url}/admin/", wait_until="networkidle")
    yield window
    window.context.close()


def rows(page: Page) -> Locator:
    return page.locator("#card-burning tbody tr")


def row(page: Page, title: str) -> Locator:
    return rows(page).filter(has_text=title)


def renewed(page: Page, times: int) -> None:
    page.evaluate(COUNT_RENEWALS)
    expect(page.locator("html")).to_have_attribute("data-renewed", str(times))


def test_what_is_drawn_typed_and_unfolded_survives_three_renewals(
    program: Program, page: Page
) -> None:
    assert page.locator("canvas").count() == 3, "two sparklines, and the chart of the spend"
    assert all(page.evaluate(INK))
    page.locator("#card-spend details summary").click()
    row(page, LARGE).get_by_text("Suspend", exact=True).first.click()
    typed = page.get_by_label(f"Reason to suspend {LARGE}")
    typed.fill("It loops")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#card-burning h2'))")
    # The other one overtakes it, and is refused: the rows would change places, a chart appears.
    assert program.start("small", "0.90") == 201
    assert program.start("still", "0.10") == 409
    renewed(page, 3)
    assert page.locator("#card-spend details[open]").count() == 1
    expect(typed).to_be_visible()
    expect(typed).to_have_value("It loops")
    assert page.evaluate("document.activeElement.placeholder") == "Reason"
    assert page.evaluate("getSelection().toString()") == "Burning now"
    assert [LARGE in each for each in rows(page).all_inner_texts()] == [True, False]
    assert page.locator("canvas").count() == 4, "the refusals have a chart by now"
    assert all(page.evaluate(INK)), page.evaluate(INK)
    picture(page, "first-page-acting")
    # Closed, the table is in order again, with its sparklines.
    page.keyboard.press("Escape")
    expect(rows(page).first).to_contain_text(SMALL)
    assert all(page.evaluate(INK)), page.evaluate(INK)


def test_a_theme_that_turns_dark_is_drawn_anew(page: Page) -> None:
    picture_of = "document.querySelector('canvas[data-chart]').toDataURL()"
    before = page.evaluate(picture_of)
    page.evaluate("document.documentElement.classList.add('dark')")
    page.wait_for_function(f"(before) => {picture_of} !== before", arg=before)
    assert all(page.evaluate(INK))


def test_the_top_burner_is_seen_suspended_and_resumed(program: Program, page: Page) -> None:
    """Zero clicks to see it; one and a reason to suspend it; one to resume it."""
    top = rows(page).first.locator("td").first.inner_text()
    assert top in (LARGE, SMALL)
    wo = "large" if top == LARGE else "small"
    row(page, top).get_by_text("Suspend", exact=True).first.click()  # 1
    expect(row(page, top)).to_contain_text("Open runs: ")
    row(page, top).get_by_role("button", name="Runaway spend").click()  # the reason
    expect(row(page, top)).to_contain_text("suspended")
    assert page.url.startswith(f"{program.service.url}/admin/")
    assert program.start(wo, "0.01") == 409
    expect(page.locator("#card-blocked")).to_contain_text(top)
    row(page, top).get_by_role("button", name="Undo").click()  # 1
    expect(row(page, top)).not_to_contain_text("suspended")
    assert program.start(wo, "0.01") == 201
    with psycopg.connect(program.service.app_url) as connection:
        result = connection.execute(
            "SELECT kind, meta->>'reason' FROM operations_events WHERE owner_id = %s"
            " AND kind LIKE 'WORK_ORDER_%%D' ORDER BY id",
            [wo],
        ).fetchall()
    assert result[-2:] == [
        ("WORK_ORDER_SUSPENDED", "Runaway spend"),
        ("WORK_ORDER_RESUMED", "Resumed on the overview"),
    ]


def test_an_agent_is_stopped_and_let_go(program: Program, page: Page) -> None:
    page.goto(f"{program.service.url}/admin/?by=agent&window=today")
    row(page, "small-agent").locator("summary").click()
    page.get_by_label("Reason to stop small-agent").fill("It loops")
    page.keyboard.press("Enter")
    expect(row(page, "small-agent")).to_contain_text("stopped")
    assert "by=agent&window=today" in page.url
    assert program.start("small", "0.01") == 403
    row(page, "small-agent").get_by_role("button", name="Undo").click()
    expect(row(page, "small-agent").locator("summary")).to_have_text("Stop")
    assert program.start("small", "0.01") == 201


def test_what_is_blocked_is_resumed_with_one_click(page: Page) -> None:
    blocked = page.locator("#card-blocked li", has_text="Standing still")
    blocked.get_by_role("button", name="Resume").click()
    expect(page.locator("#card-blocked")).not_to_contain_text("Standing still")


def test_all_of_it_is_above_the_fold(page: Page) -> None:
    for part in ("line", "burning", "needs", "blocked", "spend", "second", "trust"):
        box = page.locator(f"#card-{part}").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 900, (part, box)
    assert serious(page) == []


def test_an_auditor_sees_it_all_and_has_no_buttons(
    program: Program, sessions: dict[str, str], browser: Browser
) -> None:
    window = window_of(browser, program.service, sessions["auditor"], 390, 844)
    window.goto(f"{program.service.url}/admin/", wait_until="networkidle")
    assert rows(window).count() == 2
    assert all(window.evaluate(INK))
    assert window.locator("#tg-live button").count() == 0
    assert window.evaluate("document.documentElement.scrollWidth") == 390
    assert serious(window) == []
    window.context.close()
