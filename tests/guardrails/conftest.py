"""A desk at noon, with room for everything that a test does not limit itself."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.admission.desk import Desk

NOON = datetime(2026, 3, 14, 12, 0, 2, tzinfo=UTC)


@pytest.fixture
def desk() -> "Desk":
    # Models are there only after pytest has read this file.
    from opslog.price_book import prices
    from tests.admission.desk import Desk, install_clock, set_clock
    from tests.factories import lift_limits, make_work_order

    prices.forget_book()
    install_clock()
    lift_limits()
    set_clock(NOON)
    make_work_order(runs_per_day=1000, usd_per_day="1000.00", max_concurrent_runs=1000)
    return Desk()
