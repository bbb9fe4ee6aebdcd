"""The fixture `tollgate_fake`, for pytest to find."""

from collections.abc import Iterator

import pytest

from .testing import FakeTollgate


@pytest.fixture
def tollgate_fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTollgate]:
    """A fake Tollgate that TOLLGATE_URL and TOLLGATE_TOKEN name. A run that the test leaves open
    fails it."""
    with FakeTollgate() as fake:
        monkeypatch.setenv("TOLLGATE_URL", fake.url)
        monkeypatch.setenv("TOLLGATE_TOKEN", fake.token)
        monkeypatch.setenv("TOLLGATE_AGENT", "test")
        yield fake
        fake.assert_all_settled()
