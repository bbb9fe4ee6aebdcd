"""No figure of any page goes unnamed, and none that has a name goes without SQL."""

import re
from collections.abc import Iterator

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.test import Client

from config.pages.runbooks import RUNBOOKS
from tests.access.walking import addresses, logged_in
from tests.figures.desk import ELSEWHERE, SQL, statements
from tests.figures.reading import Page, read

PROGRAMS = ("api/", "v1/", "account/", "metrics", "healthz", "readyz")
# Settings and rules, in words: what people typed, or what holds by them. They are no figures.
SETTINGS = tuple(
    re.compile(text)
    for text in (
        r"^(\$[\d.,]+, )?(\d+ %(, )?)+$",  # the shares that alert
        r"^(up to )?\$[\d.,]+( to \$[\d.,]+| and more)?( a day.*| in any 60 .*)?$",
        r"^\$[\d.,]+ in 60 minutes$",  # a feature's cost cap, in the list
        r"^[+−-][\d.,]+ %$",  # how much of a raise a request is
        r"\$[\d.,]+ (or more )?(a day|a run|in any 60)",
        r"(opens|told) at ",
        r"^(Over|Under) \d+ %( \()?$|over \d+ % (and|above|warns)|Over \d+ × |over \d+ × ",
        r"USD/day (up to|from) \$",
        r"(below|above|under|More than|over|at) \$?[\d.,]+( %|$| )",
        r"Over \$[\d.,]+ (somebody confirms|it takes)",
        r"differ by more than 5 %|agrees within 5 %",
        r"A new one begins with \d+ runs|must be confirmed|default caps",
        r"of a cap or more$|^Now \$[\d.,]+\.",
    )
)
# Sentences of records, as they were written (events, alerts, messages), and the names of rows.
RECORDED = re.compile(
    r"^(/ops-logs|/admin/budgets/alert/|/admin/opslog/outboxmessage/)|: div > div > h1 > a: "
)
# What an act will do, in sentences: tests/figures/test_acts.py reads those.
ACTS = re.compile(r"/(suspend|resume|break-glass|switch|lower|review)/: div > div > ul > li: ")
# Columns of the row that a page, or a line of it, is about: shown as they are.
COLUMNS = (
    "changes.line.",
    "cost_rule.",
    "cost_correction.",
    "bill_import.",
    "token.",
    "caps.",
    "usd_429.",
)
COLUMNS_OF = ("limit.limit.warning_amount",)


def pages(client: Client) -> Iterator[tuple[str, Page]]:
    """Every page that can be opened, about the first row of its table."""
    for address in addresses():
        url = _url(address.name, address.route)
        if url is None:
            continue
        answer = client.get(url)
        if answer.status_code == 200 and answer["Content-Type"].startswith("text/html"):
            yield url, read(b"".join(answer).decode())
    for slug in RUNBOOKS:
        url = f"/admin/runbooks/{slug}/?work_order=edge"
        yield url, read(client.get(url).content.decode())


def _url(name: str, route: str) -> str | None:
    if route.startswith(PROGRAMS) or name.endswith(("_history", "logout")):
        return None
    if "<" not in route:
        return "/" + re.sub(r"[\^$]", "", route)
    for model in apps.get_models():
        if name.startswith(f"admin:{model._meta.app_label}_{model._meta.model_name}_"):
            first = model._default_manager.order_by("pk").first()
            return None if first is None else "/" + re.sub(r"<[^>]+>", str(first.pk), route)
    return None


@pytest.fixture(scope="module")
def seen(viewer: User) -> list[tuple[str, Page]]:
    return list(pages(logged_in(viewer)))


def test_money_and_shares_are_named_figures(seen: list[tuple[str, Page]]) -> None:
    assert len(seen) > 100
    unnamed = [
        f"{url}: {text}"
        for url, page in seen
        for text in page.unnamed
        if not any(setting.search(text.partition(": ")[2]) for setting in SETTINGS)
        and not RECORDED.search(f"{url}: {text}")
        and not ACTS.search(f"{url}: {text}")
    ]
    assert not unnamed, "\n".join(unnamed)


def test_each_name_has_its_sql(seen: list[tuple[str, Page]]) -> None:
    known = {name for file in SQL.glob("*.sql") for name in statements(file.stem)}
    elsewhere = tuple(name for names in ELSEWHERE.values() for name in names)
    without = {
        (name, url)
        for url, page in seen
        for name in page.figures
        if name not in known and not name.startswith((*elsewhere, *COLUMNS, *COLUMNS_OF))
    }
    assert not without


def test_a_number_without_a_name_is_seen() -> None:
    """The reader itself: what it must find, and what is nobody's figure."""
    html = (
        '<li data-of="w1"><data data-figure="a.b" value="0.123456789">$0.12</data> of it</li>'
        "<p>It cost $3.50 today</p><svg><title>$9.00</title></svg><p data-recorded>$7.00</p>"
    )
    page = read(html)
    assert {name: dict(found) for name, found in page.texts.items()} == {"a.b": {"w1": ["$0.12"]}}
    assert str(page.of("a.b")["w1"]) == "0.123456789"
    assert page.unnamed == ["p: It cost $3.50 today"]
