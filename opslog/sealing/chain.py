"""Verifying the chain of seals: numbers, links, signatures, the outside head, tombstones."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date

from opslog.models import EventTombstone, Seal, SealKey
from opslog.seal_format.findings import Kind, Report
from opslog.seal_format.snapshots import NOTHING, Snapshot
from opslog.seal_format.statements import NO_SEAL, is_signed, key_id
from opslog.sealing import keys
from opslog.sealing.heads import KnownHeads


@dataclass(frozen=True, slots=True)
class Gap:
    """Seals that are missing, and which transactions they and the one after covered."""

    first: int
    last: int
    before: Snapshot
    after: Snapshot

    def covers(self, transaction: int) -> bool:
        return self.after.sees(transaction) and not self.before.sees(transaction)


@dataclass
class Chain:
    """What the second pass, over the events, needs to know of the first."""

    last: Seal | None = None
    snapshot: Snapshot = NOTHING
    after_id: int = 0
    untrusted: set[int] = field(default_factory=set)  # numbers whose own root counts for nothing
    gaps: list[Gap] = field(default_factory=list)
    expired: set[date] = field(default_factory=set)


def verify_chain(
    report: Report, known: KnownHeads, pinned: Iterable[bytes], seals: Iterator[Seal]
) -> Chain:
    """Read all seals in the order of their numbers. Ed25519 takes a tenth of a millisecond each."""
    introduced = {key.key_id: key for key in SealKey.objects.all()}
    trusted = {key_id(each): each for each in keys.with_endorsed(pinned, introduced.values())}
    chain = Chain()
    digests = {
        each.month: (each, hashlib.sha256(), [0, 0]) for each in EventTombstone.objects.all()
    }
    outside = _Outside(report, known)
    previous, generation, number = NO_SEAL, 0, 0
    for seal in seals:
        if seal.number != number + 1:
            _missing(report, chain, number + 1, seal)
            outside.missing(seal.number)
        elif bytes(seal.previous) != previous:
            report.found(
                Kind.MISSING,
                f"Seal {seal.number} follows another seal {number} than the one that is there.",
                seal=seal.number,
            )
        statement = seal.statement()
        hash_now = statement.hash()
        outside.compare(seal.number, hash_now)
        public_key = trusted.get(seal.key_id)
        key = introduced.get(seal.key_id)
        if public_key is None:
            chain.untrusted.add(seal.number)
            report.found(
                Kind.UNKNOWN_KEY,
                f"Seal {seal.number} is signed with the key {seal.key_id}, which nobody outside "
                "of the database vouches for.",
                seal=seal.number,
            )
        elif not is_signed(statement.text(), bytes(seal.signature), public_key):
            chain.untrusted.add(seal.number)
            report.found(
                Kind.BAD_SIGNATURE,
                f"The signature of seal {seal.number} does not fit what it tells.",
                seal=seal.number,
            )
        elif hash_now != bytes(seal.hash):
            report.found(
                Kind.BAD_SIGNATURE,
                f"The hash that is kept beside seal {seal.number} is not its own.",
                seal=seal.number,
            )
        elif key is not None and key.generation < generation:
            report.found(
                Kind.BAD_SIGNATURE,
                f"Seal {seal.number} is signed with the key {seal.key_id}, which was retired.",
                seal=seal.number,
            )
        if key is not None:
            generation = max(generation, key.generation)
        if seal.events_from is not None:
            month = seal.events_from.date().replace(day=1)
            if month in digests:
                _, digest, counts = digests[month]
                digest.update(bytes(seal.hash))
                counts[0] += 1
                counts[1] += seal.event_count
        previous, number = hash_now, seal.number
        chain.last, chain.snapshot = seal, Snapshot.parse(seal.snapshot)
        chain.after_id = seal.after_id
        report.seals += 1
    report.through = number
    report.sealed_at = chain.last.sealed_at if chain.last else None
    outside.rest(number)
    for stone, digest, counts in digests.values():
        if _is_lawful(report, stone, trusted, digest.digest(), counts):
            chain.expired.add(stone.month)
            report.expired_months.append(str(stone))
    return chain


def _missing(report: Report, chain: Chain, first: int, seal: Seal) -> None:
    last = seal.number - 1
    chain.gaps.append(Gap(first, last, chain.snapshot, Snapshot.parse(seal.snapshot)))
    which = f"Seal {first} is" if first == last else f"Seals {first} to {last} are"
    report.found(Kind.MISSING, f"{which} missing.", seal=first)


def _is_lawful(
    report: Report,
    stone: EventTombstone,
    trusted: dict[str, bytes],
    digest: bytes,
    counts: list[int],
) -> bool:
    public_key = trusted.get(stone.key_id)
    if public_key is None:
        report.found(
            Kind.UNKNOWN_KEY,
            f"The tombstone of {stone} is signed with the key {stone.key_id}, which nobody outside "
            "of the database vouches for.",
        )
        return False
    if not is_signed(stone.statement().text(), bytes(stone.signature), public_key):
        report.found(
            Kind.BAD_SIGNATURE, f"The signature of the tombstone of {stone} does not fit it."
        )
        return False
    if digest != bytes(stone.seals_digest) or counts != [stone.seal_count, stone.event_count]:
        report.found(
            Kind.MISSING, f"The seals of {stone} are not those that its tombstone was signed for."
        )
        return False
    return True


class _Outside:
    """The lines of the head file beside the seals, both in the order of their numbers."""

    def __init__(self, report: Report, known: KnownHeads) -> None:
        self._report = report
        self._lines = known.in_order()
        self._next = next(self._lines, None)
        report.heads = len(known.numbers)
        report.head = max(known.numbers, default=0)
        report.unreadable_heads = known.unreadable

    def missing(self, up_to: int) -> None:
        """Lines of seals that are missing: reported as a gap already."""
        while self._next is not None and self._next[0] < up_to:
            self._next = next(self._lines, None)

    def compare(self, number: int, hash_now: bytes) -> None:
        differs = False
        while self._next is not None and self._next[0] <= number:
            published, head = self._next
            differs |= published == number and head != hash_now
            self._next = next(self._lines, None)
        if differs:
            self._report.found(
                Kind.BEHIND_HEAD,
                f"Seal {number} is not the one that the outside head tells.",
                seal=number,
            )

    def rest(self, last: int) -> None:
        if self._next is None:
            return
        first = self._next[0]
        self._report.found(
            Kind.BEHIND_HEAD,
            f"The database ends with seal {last}; the outside head knows no. {first} to "
            f"{self._report.head}.",
            seal=first,
        )
