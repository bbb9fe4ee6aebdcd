"""People who have logged in to the module's service, and a browser for them."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from pytest_django import DjangoDbBlocker

from config.run.scratch import ScratchService


@pytest.fixture(scope="module")
def sessions(service: ScratchService, django_db_blocker: DjangoDbBlocker) -> dict[str, str]:
    """Their cookies, by group."""
    from tests import factories
    from tests.walks.browsing import session_of

    with factories.inside(service.database, django_db_blocker):
        return {
            group: session_of(factories.make_user(group, groups=[group], is_staff=True))
            for group in ("auditor", "operations")
        }


@pytest.fixture(scope="module")
def browser(sessions: dict[str, str]) -> Iterator[Browser]:
    """Open once the people are made, since after that this thread cannot make any."""
    from tests.walks.browsing import chromium

    with chromium() as browser:
        yield browser
