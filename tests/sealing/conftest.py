"""A database of its own whose seals are signed with a key in a folder of the test."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pytest_django import Settings

if TYPE_CHECKING:
    from tests.sealing.scene import Sealed


@pytest.fixture
def sealed(committed_db: str, settings: Settings, tmp_path: Path) -> "Sealed":
    from tests.sealing.scene import Sealed, files_in

    for name, value in files_in(tmp_path).items():
        setattr(settings, name, value)
    return Sealed(tmp_path, committed_db)
