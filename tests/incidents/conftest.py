"""Whoever is on duty."""

import pytest
from django.contrib.auth.models import User

from tests.factories import make_user


@pytest.fixture
def olga(db: None) -> User:
    return make_user("olga", groups=["operations"])
