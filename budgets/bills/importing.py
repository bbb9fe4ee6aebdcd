"""Writing a bill that was read: all of it or nothing, and the same again for the same file."""

import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from typing import BinaryIO

from django.db import connection, transaction

from budgets.bills import focus
from budgets.bills.focus import Bill
from budgets.exceptions import Refused
from budgets.models import BilledCost, BillImport
from opslog import events

BATCH = 1000
BLOCK = 65_536  # bytes read at a time
SHRINK = "--shrink, or the box below the file"


def read(raw: BinaryIO) -> tuple[Bill, str]:
    """A file, and its SHA-256. Raises NotFocus."""
    digest = hashlib.sha256()
    while part := raw.read(BLOCK):
        digest.update(part)
    raw.seek(0)
    lines = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
    try:
        return focus.read(lines), digest.hexdigest()
    except UnicodeDecodeError:
        raise focus.NotFocus("The file is not UTF-8.") from None
    finally:
        lines.detach()  # whoever opened it closes it


def problems_told(bill: Bill, *, at_most: int) -> list[str]:
    told = [f"line {line}: {problem}" for line, problem in bill.problems[:at_most]]
    if bill.bad_lines > at_most:
        told.append(f"and {bill.bad_lines - at_most:,} more bad lines")
    return told


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
    where the file has fewer days of a period than are stored: it is probably a part of one.
    """
    if bill.bad_lines and not skip_bad:
        raise Refused(f"{bill.bad_lines:,} of {bill.lines:,} lines are bad; nothing was imported.")
    if not bill.costs:
        raise Refused("The file has no charges.")
    periods = sorted(bill.periods())
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE bill_imports IN SHARE ROW EXCLUSIVE MODE")
        if not shrink:
            _refuse_parts(bill, periods)
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
                    billed_usd=usd,
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
            },
        )
    return made


def _refuse_parts(bill: Bill, periods: Iterable[tuple[str, date]]) -> None:
    told: dict[tuple[str, date], set[date]] = defaultdict(set)
    for key in bill.costs:
        told[(key.bill, key.billing_period)].add(key.day)
    for name, first in periods:
        stored = (
            BilledCost.objects.filter(bill=name, billing_period=first)
            .order_by()
            .values("day")
            .distinct()
            .count()
        )
        if stored > len(told[(name, first)]):
            raise Refused(
                f"{name}, period from {first}: {stored} days are stored and the file has "
                f"{len(told[(name, first)])}. If it is the whole period, say so ({SHRINK})."
            )
