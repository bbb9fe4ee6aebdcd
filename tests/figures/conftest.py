"""One database for all tests of figures: nothing but reads happens in it."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from config.run.scratch import owner_sql
from tests.conftest import BOTH

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@pytest.fixture(scope="module")
def viewer(
    pristine_database: str,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> "Iterator[User]":
    """Who may see everything, in a committed database with the demo and the edge rows."""
    from opslog.price_book import prices
    from tests.figures import scene

    name = f"{pristine_database}_{secrets.token_hex(4)}"
    owner_sql("CREATE DATABASE {} TEMPLATE {}", name, pristine_database)
    before: dict[str, str] = {
        alias: str(connections[alias].settings_dict["NAME"]) for alias in BOTH
    }
    folder: Path = tmp_path_factory.mktemp("bills")
    with django_db_blocker.unblock():
        try:
            for alias in BOTH:
                connections[alias].close()
                connections[alias].settings_dict["NAME"] = name
            yield scene.make(folder)
        finally:
            for alias in BOTH:
                connections[alias].close()
                connections[alias].settings_dict["NAME"] = before[alias]
            prices.forget_book()
            owner_sql("DROP DATABASE {} WITH (FORCE)", name)
