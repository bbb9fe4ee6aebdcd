"""What a snapshot of PostgreSQL saw: which transactions were over at that moment.

Ids of transactions are handed out in order, and they end in any order. So "up to number N" is no
set that stays the same, while "visible in this snapshot" is one for ever: what was under way then
is not in it, however late it commits. See docs/adr/0011-seals-follow-snapshots.md.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Transactions below `ceiling` were over, except those in `running`."""

    ceiling: int
    running: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, text: str) -> "Snapshot":
        """PostgreSQL's own form (pg_snapshot), `lowest:ceiling:running,running`."""
        _, ceiling, running = text.split(":")
        return cls(int(ceiling), frozenset(int(each) for each in running.split(",") if each))

    def __str__(self) -> str:
        lowest = min(self.running, default=self.ceiling)
        return f"{lowest}:{self.ceiling}:{','.join(map(str, sorted(self.running)))}"

    def sees(self, transaction: int) -> bool:
        return transaction < self.ceiling and transaction not in self.running

    def up_to(self, ceiling: int) -> "Snapshot":
        """The same, as if only transactions below `ceiling` had been looked at."""
        if ceiling >= self.ceiling:
            return self
        return Snapshot(ceiling, frozenset(each for each in self.running if each < ceiling))


NOTHING = Snapshot(0)
