from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.outbox.sinks import HttpSink, SmtpSink, served


@pytest.fixture
def smtp(settings: Settings) -> Iterator[SmtpSink]:
    """A mail server, in the settings."""
    with served(SmtpSink()) as sink:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", sink.port
        yield sink


@pytest.fixture
def http(settings: Settings) -> Iterator[HttpSink]:
    """A service that is notified by HTTP: the one channel of the settings, on a network allowed."""
    with served(HttpSink()) as sink:
        settings.TOLLGATE_NOTIFY_SECRET_URLS = [
            f"json://user-of-it:hunter2@127.0.0.1:{sink.port}/path-token?+X-Key=header-token"
        ]
        settings.TOLLGATE_NOTIFY_PRIVATE_NETWORKS = True
        yield sink


@pytest.fixture(autouse=True)
def known_address(settings: Settings) -> None:
    settings.TOLLGATE_BASE_URL = "https://tollgate.example"
