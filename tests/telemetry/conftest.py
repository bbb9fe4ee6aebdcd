"""Imports what needs Django's settings late: this file is read before they are known."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from pytest_django import DjangoDbBlocker

if TYPE_CHECKING:
    from tests.api.harness import Api


@pytest.fixture(scope="module")
def api(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> "Iterator[Api]":
    """A real service with two web processes, so that batches really meet."""
    from tests.api.harness import api_service

    with api_service(pristine_database, django_db_blocker, workers=2) as running:
        yield running


@pytest.fixture(autouse=True)
def own_prices() -> None:
    """The database of the test before had others."""
    from opslog.price_book.prices import forget_book

    forget_book()
