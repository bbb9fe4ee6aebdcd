"""A desk in a database of its own, with room for everything that a test does not limit."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.admission.desk import Desk


@pytest.fixture
def desk(committed_db: str) -> "Iterator[Desk]":
    # Models are there only after pytest has read this file.
    from django.db import connections

    from tests.admission.desk import Desk
    from tests.factories import lift_limits

    lift_limits()
    yield Desk()
    connections["owner"].close()
