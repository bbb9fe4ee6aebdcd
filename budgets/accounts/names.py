"""Which names people can have, and which of them look alike: pure functions of text.

Unicode's own rules: text is compared as NFKC and casefolded; a name keeps to one script, or to the
mixtures that Chinese, Japanese and Korean are written in (UTS 39, "highly restrictive"); two names
are alike if their skeletons are (UTS 39, 4). The data of scripts and look-alikes is that of the
library.
"""

import unicodedata
from collections.abc import Iterable
from functools import cache

# Controls, formats (directions, zero width), surrogates, private use, not assigned, separators.
UNSEEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
# Letters and marks that draw nothing, though their category does not say so.
BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | frozenset(
    chr(code)
    for first, last in ((0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
    for code in range(first, last + 1)
)
MOST_MARKS = 2  # upon one letter; Vietnamese has two
WRITTEN_TOGETHER = (
    frozenset(("LATIN", "HAN", "HIRAGANA", "KATAKANA")),
    frozenset(("LATIN", "HAN", "BOPOMOFO")),
    frozenset(("LATIN", "HAN", "HANGUL")),
)
OF_ALL_SCRIPTS = frozenset(("COMMON", "INHERITED"))


def problem(text: str) -> str:
    """Why this cannot be a name, a part of one, or an address; empty when it can."""
    normal = unicodedata.normalize("NFKC", text)
    if any(_unseen(each) for each in text + normal):
        return "It has a character that cannot be seen."
    marks = 0
    for each in unicodedata.normalize("NFD", text):
        marks = marks + 1 if unicodedata.combining(each) else 0
        if marks > MOST_MARKS:
            return "It has too many marks on one letter."
    if any(each.isdecimal() and not each.isascii() for each in normal):
        return "Digits are 0 to 9."
    scripts = scripts_of(normal)
    if len(scripts) > 1 and not any(scripts <= each for each in WRITTEN_TOGETHER):
        return f"It mixes {' and '.join(sorted(each.title() for each in scripts))} letters."
    return ""


def username_problem(text: str) -> str:
    """As `problem`; a username is what distinguishes people, so it cannot look like another
    script either, even where nobody has that name yet."""
    if found := problem(text):
        return found
    normal = unicodedata.normalize("NFKC", text)
    scripts = scripts_of(normal)
    if scripts and "LATIN" not in scripts and scripts_of(skeleton(normal)) == {"LATIN"}:
        return "All of its letters look like Latin ones."
    for each in unicodedata.normalize("NFD", normal):
        if not each.isascii() and scripts_of(each) == {"LATIN"} and skeleton(each).isascii():
            return f"{each} looks like {skeleton(each)}."
    return ""


def alike(name: str, names: Iterable[str]) -> str:
    """The first of these names that this one could be taken for, or is; empty when none."""
    mine = keys(name)
    return next((each for each in names if mine & keys(each)), "")


def keys(name: str) -> frozenset[str]:
    """Names that share one of these are the same to a reader."""
    normal = unicodedata.normalize("NFKC", name)
    folded = unicodedata.normalize("NFKC", normal.casefold())
    return frozenset((folded, skeleton(folded), skeleton(normal).casefold()))


def skeleton(text: str) -> str:
    """The text with each character in the place of all that look like it."""
    parts = (_prototype(each) for each in unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFD", "".join(parts))


def scripts_of(text: str) -> set[str]:
    from confusable_homoglyphs import categories  # its tables take a moment to read

    return set(categories.unique_aliases(text)) - OF_ALL_SCRIPTS


@cache
def _prototype(character: str) -> str:
    """The tables list, for each character, what it is drawn as, and for that all that is drawn so:
    one with a single entry is drawn as it; two that name only each other are one of the two."""
    from confusable_homoglyphs import confusables

    listed = [each["c"].strip("\u200e") for each in confusables.confusables_data.get(character, ())]
    if len(listed) != 1:
        return character
    other: str = listed[0]
    back = confusables.confusables_data.get(other, ())
    return min(character, other) if len(back) == 1 else other


def _unseen(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind in UNSEEN or character in BLANK or (kind == "Zs" and character != " ")
