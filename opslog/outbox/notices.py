"""The one form of every message: what happened to what, from what to what, by whom, when, how bad,
and what to do, in that order. No query, no setting."""

import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime

from opslog.models import Severity

SUBJECT_LENGTH = 200
PART_LENGTH = 1_000
DETAILS_LENGTH = 10_000
SYSTEM = "Tollgate"
# Where the address goes when the message is sent: a control character, which no text has.
ADDRESS = "\x1f"
EARLIER = "\n\nAlso, shortly before:\n"


@dataclass(frozen=True, slots=True)
class Notice:
    """One message, in its parts. None of the first five is ever empty.

    `what` is what happened to what, one sentence or phrase; `change` is from what to what, with an
    arrow; `by` is a person or a program; `action` says what to do, in the imperative. `details` are
    further paragraphs, for example a reason. The subject is `what`, unless one is given.
    """

    what: str
    change: str
    by: str
    severity: Severity
    action: str
    details: str = ""
    subject: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC), kw_only=True)

    def __post_init__(self) -> None:
        parts = {"what": self.what, "change": self.change, "by": self.by, "action": self.action}
        if empty := [name for name, text in parts.items() if not text.strip()]:
            raise ValueError(f"A notice needs: {', '.join(empty)}.")
        if self.at.tzinfo is None:
            raise ValueError("The time of a notice has a time zone.")

    @property
    def line(self) -> str:
        """All of it in one line, for a digest."""
        what = one_line(self.what, PART_LENGTH).rstrip(".")
        change, by = one_line(self.change, PART_LENGTH), one_line(self.by, SUBJECT_LENGTH)
        return f"- {moment(self.at)}: {what} ({change}), by {by}"

    @property
    def headline(self) -> str:
        return one_line(self.subject or self.what, SUBJECT_LENGTH)

    @property
    def text(self) -> str:
        """With a mark where the address of the page goes (`with_address`)."""
        change, by = (one_line(each, PART_LENGTH) for each in (self.change, self.by))
        lines = [
            one_line(self.what, PART_LENGTH),
            "",
            f"Change: {change}",
            f"By: {by}",
            f"When: {moment(self.at)}",
            f"Severity: {self.severity.value}",
            f"What to do: {one_line(self.action, PART_LENGTH)}",
            ADDRESS,
        ]
        details = readable(self.details, DETAILS_LENGTH)
        return "\n".join([*lines, "", details] if details else lines)


def moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def with_address(text: str, address: str) -> str:
    """The text with the address where it belongs; at the end of one that has no place for it."""
    if ADDRESS in text:
        return text.replace(ADDRESS, address, 1)
    return f"{text}\n\n{address}".lstrip()


def merged(notice: Notice, before: str, before_line: str) -> str:
    """The text of a notice that stands for earlier ones too: theirs follow, one line each."""
    head, _, earlier = before.partition(EARLIER)
    lines = "\n".join(filter(None, (earlier, before_line or head.splitlines()[0])))
    return readable(notice.text, DETAILS_LENGTH, keep=ADDRESS) + EARLIER + lines


def one_line(text: str, length: int) -> str:
    """Without line breaks and other controls, which could become headers of their own."""
    return shortened(" ".join(_without_controls(text, keep="").split()), length)


def readable(text: str, length: int, *, keep: str = "") -> str:
    return shortened(_without_controls(text, keep=f"\n\t{keep}").strip(), length)


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _without_controls(text: str, *, keep: str) -> str:
    """Controls, surrogates, and characters that turn the direction of a text become blanks."""
    return "".join(
        " "
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        and character not in keep
        else character
        for character in text.replace("\r\n", "\n")
    )
