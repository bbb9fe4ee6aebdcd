"""Which price a name means, and when."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from opslog.pricing import Price, PriceBook, Usage
from opslog.pricing.book import NAMES_REMEMBERED
from opslog.pricing.model_names import check_match, matches
from tests.prices.factories import (
    APRIL,
    FEBRUARY,
    JANUARY,
    MARCH,
    SOLD_BY_MAKER,
    own,
    price,
)

HOME: dict[str, Any] = {"provider_match": SOLD_BY_MAKER}
IMPORTED = [
    price("m-1", "1", match={"equals": "m-1"}, **HOME),
    price("m-2", "2", match={"starts_with": "m-2"}, **HOME),
    price("m-2", "3", since=MARCH, match={"starts_with": "m-2"}, **HOME),
    price("m-2-pro", "5", match={"starts_with": "m-2-pro"}, **HOME),
    price("m-9-2026-02-01", "6", match={"equals": "m-9-2026-02-01"}, **HOME),
    price(
        "m-1",
        "11",
        provider="host",
        match={"or": [{"equals": "m-1"}, {"ends_with": "/one"}]},
    ),
    price("open", "12", provider="host", match={"equals": "open"}),
    price("embed", "13", provider="openai", match={"equals": "embed"}),
    price(
        "gpt-1",
        "14",
        provider="openai",
        match={"contains": "gpt-1"},
        provider_match={"starts_with": "gpt"},
    ),
    price("gpt-1", "15", provider="x-ai", match={"equals": "gpt-1"}),
]


@pytest.mark.parametrize(
    ("name", "at", "expected"),
    [
        ("m-1", FEBRUARY, "1"),
        ("M-1", FEBRUARY, "1"),
        (" m-1 ", FEBRUARY, "1"),
        ("m-1", JANUARY, "1"),
        ("m-1", JANUARY - timedelta(microseconds=1), None),
        # dated: the latest that is not after the moment
        ("m-2-large", FEBRUARY, "2"),
        ("m-2-large", MARCH - timedelta(microseconds=1), "2"),
        ("m-2-large", MARCH, "3"),
        ("m-2-large", APRIL, "3"),
        # an exact id before an overlapping rule of another model; else the first by name
        ("m-2-pro", APRIL, "5"),
        ("m-2-pro-x", APRIL, "3"),
        # a provider in front
        ("maker/m-1", FEBRUARY, "1"),
        ("maker:m-1", FEBRUARY, "1"),
        ("host/m-1", FEBRUARY, "11"),
        ("host:m-1", FEBRUARY, "11"),
        ("host/any/one", FEBRUARY, "11"),
        ("host/m-2", FEBRUARY, None),
        ("xai/gpt-1", FEBRUARY, "15"),
        # Azure sells OpenAI's models
        ("azure/gpt-1-x", FEBRUARY, None),
        ("openai/gpt-1-x", FEBRUARY, "14"),
        # a bare name is its maker's, never some host's
        ("open", FEBRUARY, None),
        ("host/open", FEBRUARY, "12"),
        ("embed", FEBRUARY, "13"),
        # gateways write dates without dashes
        ("m-9-20260201", FEBRUARY, "6"),
        ("m-9-20260231", FEBRUARY, None),
        ("", FEBRUARY, None),
        ("/", FEBRUARY, None),
        ("m-2" + "x" * 300, FEBRUARY, None),
        ("nobody's", FEBRUARY, None),
    ],
)
def test_imported_names(name: str, at: datetime, expected: str | None) -> None:
    found = PriceBook(1, IMPORTED).find(name, at)
    assert (None if found is None else found.input_per_mtok) == (
        None if expected is None else Decimal(expected)
    )


@pytest.mark.parametrize(
    ("provider", "name", "expected"),
    [
        ("host", "open", "12"),
        (" Host ", "OPEN", "12"),
        ("host", "any/one", "11"),
        ("host", "m-1", "11"),
        ("", "m-1", "1"),
        # as the conventions and the gateways spell it
        ("x_ai", "gpt-1", "15"),
        ("xai", "gpt-1", "15"),
        # named twice
        ("host", "host/open", "12"),
        # not sold there: the model alone
        ("host", "m-2", "2"),
        ("gateway", "m-1", "1"),
        ("openai", "host/open", "12"),
        ("openai", "open", None),
        ("", "open", None),
    ],
)
def test_a_provider_that_is_told_by_itself(provider: str, name: str, expected: str | None) -> None:
    found = PriceBook(1, IMPORTED).find(name, FEBRUARY, provider=provider)
    assert (None if found is None else str(found.input_per_mtok)) == expected


@pytest.mark.parametrize(
    ("own_prices", "expected"),
    [
        ([own("m-1")], "7"),
        ([own("m-1"), own("m-1", "8", provider="host")], "8"),
        ([own("host/m-1", "8"), own("m-1")], "8"),
        ([own("m-1", provider="maker")], "11"),
        ([own("ours", match={"equals": "m-1"})], "7"),
        ([own("ours", match={"equals": "host/m-1"})], "7"),
    ],
)
def test_own_prices_and_a_provider_that_is_told(own_prices: list[Price], expected: str) -> None:
    found = PriceBook(1, [*IMPORTED, *own_prices]).find("m-1", FEBRUARY, provider="host")
    assert found is not None
    assert str(found.input_per_mtok) == expected


def test_an_own_price_of_that_provider_that_cannot_be_read_is_not_replaced_by_another() -> None:
    book = PriceBook(1, IMPORTED, unusable=[("host", "m-1")])
    assert book.find("m-1", FEBRUARY, provider="host") is None
    assert book.find("m-1", FEBRUARY) is not None


def test_a_seller_of_others_models_sells_at_their_price() -> None:
    book = PriceBook(1, [*IMPORTED, price("own-of-azure", provider="azure", match={"equals": "x"})])
    found = book.find("azure/gpt-1-x", FEBRUARY)
    assert found is not None
    assert found.input_per_mtok == 14


@pytest.mark.parametrize(
    ("own_price", "name", "at", "expected"),
    [
        (own("m-1"), "m-1", FEBRUARY, "7"),
        # …hides every imported price of that model, however much newer
        (own("m-2"), "m-2", APRIL, "7"),
        (own("m-2"), "m-2-large", APRIL, "7"),
        (own("m-2"), "maker/m-2", APRIL, "7"),
        # …from the moment on that it is in force
        (own("m-1", since=MARCH), "m-1", FEBRUARY, "1"),
        (own("m-1", since=MARCH), "m-1", MARCH, "7"),
        # …of that name and provider only
        (own("m-1"), "host/m-1", FEBRUARY, "11"),
        (own("m-1", provider="host"), "m-1", FEBRUARY, "1"),
        (own("m-1", provider="host"), "host/m-1", FEBRUARY, "7"),
        (own("m-1", provider="host"), "host:m-1", FEBRUARY, "7"),
        (own("m-1", provider="maker"), "m-1", FEBRUARY, "7"),
        (own("Fine Tuned"), "fine tuned", FEBRUARY, "7"),
        (own("team/model"), "team/model", FEBRUARY, "7"),
        (own("ours", match={"starts_with": "m-2"}), "m-2-large", APRIL, "7"),
        (own("ours", match={"starts_with": "m-2"}), "m-1", APRIL, "1"),
        (own("ours", provider="xai"), "x-ai/ours", APRIL, "7"),
    ],
)
def test_own_prices_win(own_price: Price, name: str, at: datetime, expected: str) -> None:
    found = PriceBook(1, [*IMPORTED, own_price]).find(name, at)
    assert found is not None
    assert found.input_per_mtok == Decimal(expected)


def test_the_exact_own_name_goes_before_an_own_rule() -> None:
    rule = own("a-rule", "100", match={"contains": "m-"})
    book = PriceBook(1, [*IMPORTED, rule, own("m-1")])
    assert [
        found.input_per_mtok for name in ("m-1", "m-2") if (found := book.find(name, APRIL))
    ] == [7, 100]


def test_an_own_price_that_cannot_be_read_leaves_its_model_without_one() -> None:
    book = PriceBook(1, IMPORTED, unusable=[("", "m-1")])
    assert book.find("m-1", APRIL) is None
    assert book.find("maker/m-1", APRIL) is None
    assert book.find("m-2", APRIL) is not None


def test_no_price_is_none_and_a_price_of_zero_is_a_price() -> None:
    book = PriceBook(1, [own("free", "0", "0", tier="small")])
    assert book.cost("free", Usage(10, 10), FEBRUARY) == 0
    assert book.tier("free", FEBRUARY) == "small"
    assert book.cost("unknown", Usage(10, 10), FEBRUARY) is None
    assert book.tier("unknown", FEBRUARY) is None


def test_strangers_names_do_not_fill_the_memory() -> None:
    book = PriceBook(1, IMPORTED)
    for number in range(NAMES_REMEMBERED * 2 + 10):
        book.find(f"stranger-{number}", FEBRUARY)
    assert book._candidates.cache_info().currsize == NAMES_REMEMBERED
    assert book.find("m-1", FEBRUARY) is not None


@pytest.mark.parametrize(
    ("rule", "name", "fits"),
    [
        ({"equals": "GPT-4o"}, "gpt-4o", True),
        ({"equals": "gpt-4"}, "gpt-4o", False),
        ({"starts_with": "gpt"}, "gpt-4o", True),
        ({"ends_with": "4o"}, "gpt-4o", True),
        ({"contains": "T-4"}, "gpt-4o", True),
        ({"regex": "^o[134]"}, "o3-mini", True),
        ({"regex": "^o[134]"}, "gpt-o3", False),
        ({"or": [{"equals": "a"}, {"equals": "b"}]}, "b", True),
        ({"and": [{"starts_with": "a"}, {"ends_with": "c"}]}, "abc", True),
        ({"and": [{"starts_with": "a"}, {"ends_with": "c"}]}, "abd", False),
    ],
)
def test_rules(rule: dict[str, object], name: str, fits: bool) -> None:
    check_match(rule)
    assert matches(rule, name) is fits


@pytest.mark.parametrize(
    "rule",
    [
        None,
        [],
        "gpt-4o",
        {},
        {"equals": "a", "contains": "b"},
        {"equals": 1},
        {"equals": ""},
        {"starts_with": ""},
        {"like": "a%"},
        {"regex": "("},
        {"or": []},
        {"or": {"equals": "a"}},
        {"or": [{"equals": "a"}, {"like": "b"}]},
    ],
)
def test_malformed_rules_are_refused(rule: object) -> None:
    with pytest.raises(ValueError, match=r"^match: "):
        check_match(rule)
