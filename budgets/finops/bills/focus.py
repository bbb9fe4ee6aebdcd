"""Reading a bill in the columns of FOCUS, the FinOps Open Cost and Usage Specification. Pure.

The mandatory columns BilledCost, BillingCurrency, ChargePeriodStart, ServiceCategory and
ServiceName are needed; BillingPeriodStart, BillingAccountId, ChargeCategory and the provider's
name are used where they are there. Column ids as in versions 1.0 to 1.3. Charges of no service
(from a marketplace, reservations, rounding, credits) stand under their category.

Amounts have more digits than are stored. They are added up as they are, and rounded once.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Context, Decimal, InvalidOperation, localcontext

NEEDED = ("BilledCost", "BillingCurrency", "ChargePeriodStart", "ServiceCategory", "ServiceName")
# Who bills: the name of the column changed between versions; the first that is filled counts.
BILLED_BY = ("InvoiceIssuerName", "ServiceProviderName", "ProviderName", "PublisherName")
CURRENCY = "USD"  # only dollars are added up: rates of exchange are nobody's guess
MOST_USD = Decimal(10) ** 10
FINEST = Decimal("1E-9")
MOST_PROBLEMS = 1000
EXACT = Context(prec=60)  # digits; no sum of a bill has more
NULLS = ("", "null", "NULL")
FILLED = ("BilledCost", "BillingCurrency", "ChargePeriodStart")


class NotFocus(Exception):
    """The file has not the columns; nothing can be read from it."""


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What is added up: one service of one bill on one day."""

    bill: str
    billing_period: date
    day: date
    service_category: str
    service_name: str
    charge_category: str


@dataclass(slots=True)
class Bill:
    """What a file says, and what was wrong in which line (the header is line 1)."""

    costs: dict[Key, tuple[Decimal, int]] = field(default_factory=dict)
    lines: int = 0
    bad_lines: int = 0
    problems: list[tuple[int, str]] = field(default_factory=list)

    @property
    def billed_usd(self) -> Decimal:
        with localcontext(EXACT):
            return rounded(sum((usd for usd, _ in self.costs.values()), Decimal(0)))

    def periods(self) -> set[tuple[str, date]]:
        return {(key.bill, key.billing_period) for key in self.costs}

    def complain(self, line: int, problem: str) -> None:
        self.bad_lines += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append((line, problem))


def read(lines: Iterable[str]) -> Bill:
    """Add a file up. A bad line is reported and skipped. Raises NotFocus."""
    reader = csv.reader(lines, strict=True)
    bill = Bill()
    try:
        header = next(reader, [])
        columns = _columns(header)
        for cells in _rows(reader):
            if not any(cells):
                continue
            bill.lines += 1
            try:
                key, usd = _row(columns, cells, width=len(header))
            except ValueError as error:
                bill.complain(reader.line_num, str(error))
                continue
            before, count = bill.costs.get(key, (Decimal(0), 0))
            bill.costs[key] = (EXACT.add(before, usd), count + 1)
    except csv.Error as error:
        raise NotFocus(f"Line {reader.line_num} is no CSV: {error}.") from None
    return bill


def _rows(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    for cells in reader:
        yield [cell.strip() for cell in cells]


def _columns(header: list[str]) -> dict[str, int]:
    """Places of the columns. Ids are case-sensitive in the specification; files are not always."""
    known = {name.lower(): name for name in (*NEEDED, *BILLED_BY, *OPTIONAL)}
    found: dict[str, int] = {}
    for place, title in enumerate(header):
        name = known.get(title.strip().lstrip("\ufeff").lower())
        if name in found:
            raise NotFocus(f"The column {name} is there twice.")
        if name:
            found[name] = place
    if missing := [name for name in NEEDED if name not in found]:
        raise NotFocus(f"No FOCUS file: there is no column {', '.join(missing)}.")
    return found


OPTIONAL = ("BillingPeriodStart", "BillingAccountId", "ChargeCategory")


def _row(columns: dict[str, int], cells: list[str], *, width: int) -> tuple[Key, Decimal]:
    if len(cells) != width:
        raise ValueError(f"{len(cells)} cells where the header has {width}")

    def text(name: str) -> str:
        value = cells[columns[name]] if name in columns else ""
        if "\x00" in value or len(value) > 500:
            raise ValueError(f"{name}: no readable text")
        return "" if value in NULLS else value

    for name in FILLED:
        if not text(name):
            raise ValueError(f"{name} is empty")
    category = text("ServiceCategory") or text("ChargeCategory")
    if not category:
        raise ValueError("ServiceCategory is empty, and so is ChargeCategory")
    if (currency := text("BillingCurrency")) != CURRENCY:
        raise ValueError(f"BillingCurrency is {currency[:10]!r}; only {CURRENCY} is added up")
    day = moment(text("ChargePeriodStart"), "ChargePeriodStart").date()
    period = text("BillingPeriodStart")
    first = moment(period, "BillingPeriodStart").date() if period else day.replace(day=1)
    issuer = next((named for name in BILLED_BY if (named := text(name))), "")
    return (
        Key(
            bill=" ".join(filter(None, (issuer, text("BillingAccountId")))) or "unnamed",
            billing_period=first,
            day=day,
            service_category=category,
            service_name=text("ServiceName") or category,
            charge_category=text("ChargeCategory"),
        ),
        money(text("BilledCost")),
    )


def money(text: str) -> Decimal:
    """Any finite decimal, an exponent too; negative for credits and refunds."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"BilledCost is no number: {text[:40]!r}") from None
    if not amount.is_finite() or abs(amount) >= MOST_USD:
        raise ValueError(f"BilledCost is no amount: {text[:40]!r}")
    return amount


def rounded(amount: Decimal) -> Decimal:
    """To what is stored: a nano-dollar."""
    return amount.quantize(FINEST, context=EXACT)


def moment(text: str, column: str) -> datetime:
    """ISO 8601 as the specification has it, or with `UTC` at the end as databases export it;
    without a zone it is UTC, which it always is there."""
    try:
        found = datetime.fromisoformat(text.removesuffix("UTC").rstrip())
    except ValueError:
        raise ValueError(f"{column} is no date and time: {text[:40]!r}") from None
    if found.tzinfo is None:
        return found.replace(tzinfo=UTC)
    return found.astimezone(UTC)
