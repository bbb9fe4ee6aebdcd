"""A house, and mail that stays in it. (Models can be imported only once settings are read.)"""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings


@pytest.fixture
def house(db: None) -> dict[str, Any]:
    from tests.accounts.house import people

    return people()


@pytest.fixture
def mail() -> Iterator[None]:
    with override_settings(EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend"):
        yield
