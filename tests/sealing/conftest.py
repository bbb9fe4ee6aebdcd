"""A database of its own whose seals are signed with a key in a folder of the test."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pytest_django import Settings

if TYPE_CHECKING:
    from tests.sealing.scene import Sealed


@pytest.fixture
def sealed(
    committed_db: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> "Sealed":
    from opslog.sealing import sealer
    from tests.sealing.scene import Sealed, files_in

    # The transactions of all tests are counted together; were no. 50,000 of them among those that
    # a test seals, there would be a seal more than it expects.
    monkeypatch.setattr(sealer, "WINDOW", 2**62)
    for name, value in files_in(tmp_path).items():
        setattr(settings, name, value)
    return Sealed(tmp_path, committed_db)
