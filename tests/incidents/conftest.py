"""Whoever is on duty."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@pytest.fixture
def olga(db: None) -> "User":
    # Models are there only after pytest has read this file.
    from tests.factories import make_user

    return make_user("olga", groups=["operations"])
