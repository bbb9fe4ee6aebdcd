"""Names that limits, switches, quotas and counts compare: one spelling of each. Pure.

`Evil`, `evil ` and `ｅｖｉｌ` look alike to people, so they are one name: whoever stops one stops
all. `tollgate.identity` in the database is the same function, for rows that are written by SQL.
"""

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

LONGEST: Final = 200
REMEMBERED: Final = 8192

# What nobody sees: default-ignorable code points, fillers and blanks that are no spaces.
INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d159"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Spaces, once compatibility forms are gone, and control characters.
BLANK: Final = re.compile("[\x00-\x20\x7f-\xa0\u1680\u2028\u2029]+")
# Moves the cursor, breaks a line, or turns the direction of what follows.
CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@lru_cache(REMEMBERED)
def canonical(name: str) -> str:
    """The spelling that is stored and compared: NFKC, without what is invisible, casefolded, with
    single spaces inside and none around. "" where nothing is left."""
    if name.isascii():
        folded = name.lower()
    else:
        seen = INVISIBLE.sub("", unicodedata.normalize("NFKD", name))
        folded = unicodedata.normalize("NFKC", seen.casefold())
    return BLANK.sub(" ", folded).strip(" ")


def is_name(text: str) -> bool:
    """Whether something is left of a name that was given, and not too much. (Normalization makes
    eighteen characters of some.) "" gives no name, which is another matter."""
    return text == "" or 0 < len(canonical(text)) <= LONGEST


def sent_as(**names: tuple[str, str]) -> Mapping[str, str]:
    """Of pairs (as sent, as stored) the spellings that differ, for people to see."""
    return {field: sent for field, (sent, stored) in names.items() if sent and sent != stored}
