"""The book of a process and the import into the table, on the real database."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, connections, transaction
from pytest_django.fixtures import DjangoAssertNumQueries

from opslog.models import ModelPrice, OperationsEvent, PriceBookVersion
from opslog.price_book import prices
from opslog.price_book.imported import bundled
from opslog.pricing import PriceBook, Usage
from opslog.pricing.plan import Plan, plan
from tests.prices.factories import JANUARY, price
from tests.waiting import HANG_SECONDS

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_book_held() -> Iterator[None]:
    prices.forget_book()
    yield
    prices.forget_book()


@pytest.fixture
def _aged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every book is old enough to be compared with the database again."""
    monkeypatch.setattr(prices, "CHECK_AFTER_SECONDS", 0.0)


def own_row(model: str = "m", input: str = "1", output: str = "2", **more: Any) -> ModelPrice:
    values = {"effective_from": JANUARY, **more}
    return ModelPrice.objects.create(
        model=model, input_per_mtok=Decimal(input), output_per_mtok=Decimal(output), **values
    )


def version() -> int:
    return PriceBookVersion.objects.get().version


@pytest.mark.django_db
def test_a_book_is_loaded_once_and_then_costs_no_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    own_row()
    with django_assert_num_queries(1):  # the rows; the version comes through the authority
        book = prices.current_book()
    with django_assert_num_queries(0):
        for _ in range(100):
            assert prices.current_book(at_least=book.version) is book
            assert book.cost("m", Usage(1_000_000, 0), NOON) == 1


@pytest.mark.django_db
def test_a_change_is_seen_at_once_by_who_knows_of_it() -> None:
    own_row()
    before = prices.current_book()
    ModelPrice.objects.filter(model="m").update(input_per_mtok=5)
    assert version() > before.version
    assert prices.current_book() is before
    after = prices.current_book(at_least=version())
    assert after.version == version()
    assert after.cost("m", Usage(1_000_000, 0), NOON) == 5


@pytest.mark.django_db
@pytest.mark.usefixtures("_aged")
def test_an_old_book_is_compared_and_loaded_only_if_it_changed(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    own_row()
    book = prices.current_book()
    with django_assert_num_queries(0):
        assert prices.current_book() is book
    own_row("n")
    with django_assert_num_queries(1):
        assert prices.current_book().find("n", NOON)


@pytest.mark.django_db
def test_at_hand_is_what_needs_no_look_at_the_database(
    django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not prices.at_hand()
    book = prices.current_book()
    assert prices.at_hand()
    monkeypatch.setattr(prices, "CHECK_AFTER_SECONDS", 0.0)
    assert not prices.at_hand()
    with prices._lock, django_assert_num_queries(0):  # somebody else is looking
        assert prices.at_hand()
        assert prices.current_book() is book


@pytest.mark.django_db
def test_insert_update_and_delete_count_the_version_up() -> None:
    seen = [version()]
    row = own_row()
    seen.append(version())
    ModelPrice.objects.filter(pk=row.pk).update(output_per_mtok=3)
    seen.append(version())
    row.delete()
    seen.append(version())
    assert seen == sorted(set(seen))


def test_threads_that_start_together_load_one_book(committed_db: str) -> None:
    own_row()
    start = threading.Barrier(8)
    books: list[PriceBook] = []

    def work() -> None:
        start.wait(timeout=HANG_SECONDS)
        books.append(prices.current_book())
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=HANG_SECONDS)
    assert len(books) == 8
    assert len({id(book) for book in books}) == 1


@pytest.mark.django_db
def test_a_row_that_cannot_be_read_leaves_its_model_alone_without_a_price(
    caplog: pytest.LogCaptureFixture,
) -> None:
    own_row("broken", tiers=[{"above": 1}])
    own_row("worse", match={"like": "x"})
    own_row("sound")
    book = prices.current_book()
    assert book.find("broken", NOON) is None
    assert book.find("worse", NOON) is None
    assert book.find("sound", NOON) is not None
    assert caplog.text.count("cannot be read") == 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    "wrong",
    [
        {"tiers": [{"above": 1}]},
        {"tiers": {}},
        {"match": {"like": "x"}},
        {"match": {"regex": "("}},
        {"provider_match": {"starts_with": ""}},
        {"service_tiers": {"batch": {}}},
        {"tool_prices": {"web_search": "x"}},
    ],
)
def test_forms_refuse_what_the_book_could_not_read(wrong: dict[str, Any]) -> None:
    row = ModelPrice(
        model="m", effective_from=JANUARY, input_per_mtok=1, output_per_mtok=1, **wrong
    )
    with pytest.raises(ValidationError) as refused:
        row.full_clean()
    assert list(refused.value.message_dict) == list(wrong)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "column",
    [
        "input_per_mtok",
        "output_per_mtok",
        "cached_input_per_mtok",
        "cache_write_per_mtok",
        "reasoning_per_mtok",
        "cache_write_1h_per_mtok",
        "audio_input_per_mtok",
        "cached_audio_input_per_mtok",
        "audio_output_per_mtok",
        "image_input_per_mtok",
        "image_output_per_mtok",
    ],
)
def test_no_negative_price_gets_into_the_table(column: str) -> None:
    row = own_row()
    with pytest.raises(IntegrityError), transaction.atomic():
        ModelPrice.objects.filter(pk=row.pk).update(**{column: -1})


def update(*arguments: str) -> str:
    out = StringIO()
    call_command("update_prices", *arguments, stdout=out)
    return out.getvalue()


def first_import() -> str:
    return update("--apply", "--reason", "first prices")


@pytest.mark.django_db
def test_without_apply_nothing_is_written() -> None:
    ModelPrice.objects.all().delete()
    before = version()
    out = update()
    assert "openrouter/" in update("--all")
    assert f"{len(bundled())} rows added" in out
    assert "Nothing was written" in out
    assert ModelPrice.objects.count() == 0
    assert version() == before
    assert not OperationsEvent.objects.filter(kind="PRICE_BOOK_UPDATE").exists()


@pytest.mark.django_db
@pytest.mark.parametrize("arguments", [(), ("--reason", "  ")])
def test_apply_needs_a_reason(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="--reason"):
        update("--apply", *arguments)


@pytest.mark.django_db
def test_the_first_import_is_the_bundled_book_and_a_second_changes_nothing() -> None:
    ModelPrice.objects.all().delete()
    assert "Written." in first_import()
    loaded, expected = prices.current_book(), PriceBook(1, bundled())
    assert len(loaded) == len(expected)
    usage = Usage(300_001, 5_000, cached_input_tokens=1_000, cache_write_tokens=2_000)
    for each in bundled():
        name = f"{each.provider}/{each.model}"
        assert loaded.find(name, NOON) == expected.find(name, NOON)
        assert loaded.cost(name, usage, NOON) == expected.cost(name, usage, NOON)
    event = OperationsEvent.objects.get(kind="PRICE_BOOK_UPDATE")
    assert (event.owner_type, event.meta["reason"]) == ("price_book", "first prices")
    assert event.meta["added"] == len(bundled())
    before = version()
    assert "Nothing to write" in first_import()
    assert version() == before
    assert OperationsEvent.objects.filter(kind="PRICE_BOOK_UPDATE").count() == 1


@pytest.mark.django_db
def test_a_changed_price_becomes_a_new_row_and_goes_on_record() -> None:
    ModelPrice.objects.all().delete()
    first_import()
    past = ModelPrice.objects.get(provider="openai", model="gpt-4o")
    ModelPrice.objects.filter(pk=past.pk).update(input_per_mtok=99)
    right = next(each for each in bundled() if (each.provider, each.model) == ("openai", "gpt-4o"))
    assert "changed   openai/gpt-4o: input 99 -> 2.5" in update()
    before = datetime.now(UTC)
    update("--apply", "--reason", "a correction")
    rows = ModelPrice.objects.filter(provider="openai", model="gpt-4o").order_by("effective_from")
    assert [row.input_per_mtok for row in rows] == [99, right.input_per_mtok]
    assert before <= rows[1].effective_from <= datetime.now(UTC)
    meta = OperationsEvent.objects.filter(kind="PRICE_BOOK_UPDATE").latest().meta
    assert meta["changes"] == [
        {
            "provider": "openai",
            "model": "gpt-4o",
            "input_per_mtok": {"old": "99", "new": "2.5"},
        }
    ]


@pytest.mark.django_db
def test_own_prices_are_neither_changed_nor_removed() -> None:
    ModelPrice.objects.all().delete()
    row = own_row("gpt-4o", "7", "8", tier="largest")
    first_import()
    kept = ModelPrice.objects.get(source="own")
    assert (kept.pk, kept.effective_from) == (row.pk, JANUARY)
    assert kept.input_per_mtok == 7
    book = prices.current_book()
    assert book.cost("gpt-4o", Usage(1_000_000, 0), NOON) == 7
    assert book.cost("gpt-4o-2024-08-06", Usage(1_000_000, 0), NOON) == 7
    assert book.tier("gpt-4o", NOON) == "largest"


@pytest.mark.django_db
def test_an_import_and_its_event_are_written_together_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*args: object, **more: object) -> int:
        raise RuntimeError("the log is full")

    count = ModelPrice.objects.count()
    monkeypatch.setattr(prices, "record", broken)
    with pytest.raises(RuntimeError):
        prices.import_prices([price("new")], origin="a test", reason="why", by="somebody")
    assert ModelPrice.objects.count() == count


def import_twice_at_once() -> list[int | type[Exception]]:
    """What each of two threads wrote, or how it failed."""
    start = threading.Barrier(2)
    outcomes: list[int | type[Exception]] = []

    def work() -> None:
        start.wait(timeout=HANG_SECONDS)
        try:
            change = prices.import_prices(
                [price("new"), price("other")], origin="a test", reason="why", by="somebody"
            )
            outcomes.append(len(change.rows))
        except IntegrityError as error:
            outcomes.append(type(error))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=HANG_SECONDS)
    return sorted(outcomes, key=str)


def test_two_imports_at_once_write_one(committed_db: str) -> None:
    ModelPrice.objects.all().delete()
    assert import_twice_at_once() == [0, 2]
    assert ModelPrice.objects.count() == 2


def test_without_the_lock_two_imports_collide(
    committed_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the race is there, and behind the lock stands a constraint."""
    ModelPrice.objects.all().delete()
    both_have_read = threading.Barrier(2)

    def plan_together(*args: Any, **more: Any) -> Plan:
        change = plan(*args, **more)
        both_have_read.wait(timeout=HANG_SECONDS)
        return change

    monkeypatch.setattr(prices, "lock_price_book", lambda: None)
    monkeypatch.setattr(prices, "plan", plan_together)
    assert import_twice_at_once() == [2, IntegrityError]
    assert ModelPrice.objects.count() == 2
