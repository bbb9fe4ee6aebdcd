"""The kinds of finding of a verification."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Kind(StrEnum):
    MODIFIED = "modified"
    DELETED = "deleted"
    INSERTED = "inserted"
    UNSEALED = "unsealed too long"
    MISSING = "missing seal range"
    BAD_SIGNATURE = "bad signature"
    UNKNOWN_KEY = "unknown key"
    BEHIND_HEAD = "behind the outside head"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line for people. `events` are ids where the finding is about some."""

    kind: Kind
    text: str
    seal: int | None = None
    events: tuple[int, ...] = ()


@dataclass
class Report:
    """What was read, and what is wrong with it."""

    findings: list[Finding] = field(default_factory=list)
    seals: int = 0
    through: int = 0  # the number of the newest seal
    events: int = 0  # rows of the log that were read
    sealed: int = 0  # of those, the ones that are as their seal tells
    unsealed: int = 0  # of those, the ones that wait for a seal
    expired: int = 0  # lawfully
    expired_months: list[str] = field(default_factory=list)
    heads: int = 0  # lines of the outside head that were compared
    head: int = 0  # the newest of them
    unreadable_heads: int = 0
    sealed_at: datetime | None = None

    @property
    def by_kind(self) -> Counter[Kind]:
        return Counter(each.kind for each in self.findings)

    def found(
        self, kind: Kind, text: str, *, seal: int | None = None, events: tuple[int, ...] = ()
    ) -> None:
        self.findings.append(Finding(kind, text, seal, events))
