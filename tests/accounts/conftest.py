"""A house. (Models can be imported only once settings are read.)"""

from typing import Any

import pytest


@pytest.fixture
def house(db: None) -> dict[str, Any]:
    from tests.accounts.house import people

    return people()
