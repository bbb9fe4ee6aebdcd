"""Where the demo's agents find their token again: the data folder, for its owner alone."""

import os

from django.conf import settings

KEPT = "demo_token"


def keep_token(text: str) -> None:
    settings.DATA.create()
    settings.DATA.write(KEPT, text)


def find_token() -> str:
    """TOLLGATE_TOKEN, else the one of the data folder, else "" """
    given = os.environ.get("TOLLGATE_TOKEN", "")
    if given:
        return given
    try:
        return str((settings.DATA.path / KEPT).read_text()).strip()
    except OSError:
        return ""
