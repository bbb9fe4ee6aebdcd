"""Writing a bill that was read: all of it or nothing, and the same again for the same file."""

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, BinaryIO

from django.db import transaction

from budgets.exceptions import Refused
from budgets.finops.bills import focus
from budgets.finops.bills.focus import Bill
from budgets.models import BilledCost, BillImport
from opslog import events
from opslog.database import query

BATCH = 1000
BLOCK = 65_536  # bytes read at a time
SHRINK = "--shrink, or the box below the file"
GZIP = b"\x1f\x8b"
# What the file has less of than is stored, service by service and day by day.
STORED = """
SELECT day, service_category, service_name, sum(billed_usd), sum(lines) FROM billed_costs
WHERE bill = %s AND billing_period = %s GROUP BY 1, 2, 3
"""


def read(raw: BinaryIO, *, most: int | None = None) -> tuple[Bill, str]:
    """A file, compressed with gzip or not, and its SHA-256. `most`: bytes of what is in it.

    Raises NotFocus.
    """
    digest = hashlib.sha256()
    beginning = b""
    while part := raw.read(BLOCK):
        beginning = beginning or part[:2]
        digest.update(part)
    raw.seek(0)
    plain: Any = gzip.GzipFile(fileobj=raw) if beginning == GZIP else raw
    lines = io.TextIOWrapper(plain, encoding="utf-8-sig", newline="")
    try:
        return focus.read(_at_most(lines, most)), digest.hexdigest()
    except UnicodeDecodeError:
        raise focus.NotFocus("The file is not UTF-8.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise focus.NotFocus("The file is compressed badly, or cut off.") from None
    finally:
        lines.detach()  # whoever opened it closes it


def _at_most(lines: Iterable[str], most: int | None) -> Iterable[str]:
    size = 0
    for line in lines:
        size += len(line)
        if most is not None and size > most:
            raise focus.NotFocus(f"There are more than {most:,} characters in the file.")
        yield line


def problems_told(bill: Bill, *, at_most: int) -> list[str]:
    texts = [f"line {line}: {problem}" for line, problem in bill.problems[:at_most]]
    if bill.bad_lines > at_most:
        texts.append(f"and {bill.bad_lines - at_most:,} more bad lines")
    return texts


def store(
    bill: Bill,
    *,
    file_name: str,
    sha256: str,
    by: str,
    skip_bad: bool = False,
    shrink: bool = False,
) -> BillImport:
    """Replace what is stored of the (bill, billing period) pairs that the file has.

    Raises Refused where lines are bad (unless they are to be skipped), where there is nothing, and
    (unless `shrink`) where the file has less of a period than is stored: it is probably a part.
    """
    if bill.bad_lines and not skip_bad:
        raise Refused(f"{bill.bad_lines:,} of {bill.lines:,} lines are bad; nothing was imported.")
    if not bill.costs:
        raise Refused("The file has no charges.")
    periods = sorted(bill.periods())
    with transaction.atomic():
        query.run("LOCK TABLE bill_imports IN SHARE ROW EXCLUSIVE MODE")
        losses = _losses(bill, periods)
        if losses and not shrink:
            lost = " ".join(losses)
            raise Refused(f"{lost} To replace them all the same, confirm it ({SHRINK}).")
        for name, first in periods:
            BilledCost.objects.filter(bill=name, billing_period=first).delete()
        made = BillImport.objects.create(
            file_name=file_name[:200],
            sha256=sha256,
            lines=bill.lines,
            bad_lines=bill.bad_lines,
            billed_usd=bill.billed_usd,
            periods=[f"{name} {first:%Y-%m-%d}" for name, first in periods],
            imported_by=by,
        )
        BilledCost.objects.bulk_create(
            (
                BilledCost(
                    bill=key.bill,
                    billing_period=key.billing_period,
                    day=key.day,
                    service_category=key.service_category,
                    service_name=key.service_name,
                    charge_category=key.charge_category,
                    billed_usd=focus.rounded(usd),
                    lines=lines,
                    source=made,
                )
                for key, (usd, lines) in sorted(bill.costs.items())
            ),
            batch_size=BATCH,
        )
        events.record(
            "BILL_IMPORTED",
            message=f"Bill imported: {made.file_name}, ${made.billed_usd:,.2f}",
            owner=("bill_import", str(made.pk)),
            label=made.file_name,
            actor=by,
            meta={
                "sha256": sha256,
                "lines": bill.lines,
                "badLines": bill.bad_lines,
                "billedUsd": str(bill.billed_usd),
                "periods": made.periods[:100],
                "lost": losses[:100],
            },
        )
    return made


@dataclass(slots=True)
class _Loss:
    """What is stored and not in a file. Dollars of one service do not make up for another's."""

    lines: int = 0
    usd: Decimal = Decimal(0)


def _losses(bill: Bill, periods: Iterable[tuple[str, date]]) -> list[str]:
    totals: dict[tuple[Any, ...], tuple[Decimal, int]] = {}
    days = {(key.bill, key.billing_period, key.day) for key in bill.costs}
    for key, (usd, lines) in bill.costs.items():
        service = (key.bill, key.billing_period, key.day, key.service_category, key.service_name)
        before, count = totals.get(service, (Decimal(0), 0))
        totals[service] = (before + focus.rounded(usd), count + lines)
    losses = []
    for name, first in periods:
        loss, gone = _Loss(), set()
        for day, category, service_name, usd, lines in query.rows(STORED, [name, first]):
            new_usd, new_lines = totals.get(
                (name, first, day, category, service_name), (Decimal(0), 0)
            )
            loss.usd += max(usd - new_usd, Decimal(0))
            loss.lines += max(lines - new_lines, 0)
            if (name, first, day) not in days:
                gone.add(day)
        if loss.lines or loss.usd:
            losses.append(
                f"{name}, period from {first}: {loss.lines:,} lines, ${loss.usd:,.2f} and "
                f"{len(gone):,} days that are stored are not in the file."
            )
    return losses
