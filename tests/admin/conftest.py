from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.admin.scene import Scene


@pytest.fixture
def scene(db: None) -> "Scene":
    from tests.admin.scene import make_scene

    return make_scene()
