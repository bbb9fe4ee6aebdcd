"""One spelling of each name: in Python, in the database, and that both have the same."""

import random
import unicodedata

import pytest
from django.db import connection

from opslog.identities import canonical, is_name, sent_as
from opslog.price_book.imported import bundled
from opslog.pricing import PriceBook
from opslog.pricing.model_names import bare
from tests.identities.spellings import EVIL, ONE_MODEL
from tests.prices.factories import own


@pytest.mark.parametrize("spelling", EVIL)
def test_one_name(spelling: str) -> None:
    assert canonical(spelling) == "evil"


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("Straße", "strasse"),
        ("STRASSE", "strasse"),
        ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
        ("Σίσυφος", "σίσυφοσ"),
        ("I\u0307", "i\u0307"),
        ("Ⅷ", "viii"),
        ("two   words", "two words"),
        ("two\u2003words", "two words"),
        ("Cafe\u0301", "café"),
        ("evi1", "evi1"),
        ("еvil", "еvil"),  # a Cyrillic letter: another name, and it looks like one
    ],
)
def test_spellings(spelling: str, name: str) -> None:
    assert canonical(spelling) == name


@pytest.mark.parametrize("text", [" ", "\u200b", "\u00a0\u3164", "\ufe0f\u202c", "\ufdfa" * 12])
def test_nothing_or_too_much_is_left(text: str) -> None:
    assert not is_name(text)


def test_what_was_sent_is_kept_where_it_differs() -> None:
    result = sent_as(agentName=("Evil", "evil"), userId=("u", "u"), surface=("", ""))
    assert result == {"agentName": "Evil"}


def letters() -> list[str]:
    """All that Unicode has assigned, as far as this Python knows."""
    return [
        chr(point)
        for point in range(1, 0x110000)
        if unicodedata.category(chr(point)) not in ("Cs", "Cn")
    ]


def in_the_database(function: str, names: list[str]) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT array_agg(tollgate.{function}(n) ORDER BY i) "
            "FROM unnest(%s::text[]) WITH ORDINALITY AS t (n, i)",
            [names],
        )
        found: list[str] = cursor.fetchone()[0]
        return found


@pytest.mark.django_db
def test_the_database_has_the_same_spelling_of_all_of_unicode() -> None:
    """Each letter between two others, by the hundred; then mixtures."""
    every = letters()
    rng = random.Random(4)
    texts = [
        "x" + "y".join(every[begin : begin + 100]) + "z" for begin in range(0, len(every), 100)
    ]
    texts += ["".join(rng.choices(every[:3000], k=6)) for _ in range(2000)] + EVIL
    mine = [canonical(text) for text in texts]
    differing = [
        (text, here, there)
        for text, here, there in zip(texts, mine, in_the_database("identity", texts), strict=True)
        if here != there
    ]
    assert differing == []
    assert [canonical(name) for name in mine] == mine


OTHER_NAMES = [
    ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
    ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
    ("vertex_ai/claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
    ("openrouter/anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
    ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
    ("gpt-3.5-turbo-0613", "gpt-3.5-turbo"),
    ("ft:gpt-4o-mini-2024-07-18:acme::id", "ft:gpt-4o-mini"),
    ("house/Our-Model-2026-01-31", "our-model"),
    ("our-model", "our-model"),
]


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook(1, bundled())


@pytest.mark.parametrize("name", ONE_MODEL)
def test_one_model(book: PriceBook, name: str) -> None:
    assert book.name_of(name) == "gpt-4o"


@pytest.mark.parametrize(("name", "model"), OTHER_NAMES)
def test_models(book: PriceBook, name: str, model: str) -> None:
    assert book.name_of(name) == model


def test_the_name_of_a_name_is_that_name(book: PriceBook) -> None:
    names = {book.name_of(price.model, provider=price.provider) for price in bundled()}
    assert len(names) > 500
    assert {name for name in names if book.name_of(name) != name} == set()


def test_the_tier_of_a_model_is_that_of_its_name() -> None:
    book = PriceBook(1, [*bundled(), own("gpt-4o", tier="largest")])
    at = bundled()[0].effective_from.replace(year=2026)
    assert {book.tier(name, at) for name in ONE_MODEL} == {"largest"}


@pytest.mark.django_db
def test_the_database_strips_models_alike() -> None:
    names = sorted(
        {price.model for price in bundled()} | {*ONE_MODEL, *(n for n, _ in OTHER_NAMES)}
    )
    there = in_the_database("model_name", names)
    assert [(n, bare(n), t) for n, t in zip(names, there, strict=True) if bare(n) != t] == []
