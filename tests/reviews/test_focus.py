"""Reading bills with FOCUS columns: pure."""

from datetime import date
from decimal import Decimal

import pytest

from budgets.finops.bills import focus
from tests.reviews.bills import HEADER

GOOD = "1.25,USD,2026-10-03T00:00:00Z,Compute,Machines"


def read(*lines: str, header: str = HEADER) -> focus.Bill:
    return focus.read([f"{line}\n" for line in (header, *lines)])


def test_a_line_is_a_charge_of_its_day() -> None:
    bill = read(GOOD)
    ((key, (usd, lines)),) = bill.costs.items()
    assert (key.day, key.billing_period) == (date(2026, 10, 3), date(2026, 10, 1))
    assert (key.service_category, key.service_name) == ("Compute", "Machines")
    assert (usd, lines, bill.bad_lines) == (Decimal("1.25"), 1, 0)


def test_lines_of_one_service_and_day_are_added_up() -> None:
    bill = read(GOOD, GOOD.replace("T00", "T17"), GOOD.replace("1.25", "-0.50"))
    assert list(bill.costs.values()) == [(Decimal("2.00"), 3)]


def test_the_bill_is_the_issuer_and_the_account() -> None:
    header = f"{HEADER},BillingAccountId,ProviderName,InvoiceIssuerName,BillingPeriodStart,X_Own"
    bill = read(f"{GOOD},77,Cloud,Reseller,2026-09-01T00:00:00Z,x", header=header)
    assert bill.periods() == {("Reseller 77", date(2026, 9, 1))}
    bill = read(f"{GOOD},77,Cloud,NULL,,x", header=header)
    assert bill.periods() == {("Cloud 77", date(2026, 10, 1))}


@pytest.mark.parametrize(
    ("text", "usd"),
    [("0", "0"), ("-3.10", "-3.10"), ("1E-7", "0.0000001"), ("35.2E-7", "0.00000352")],
)
def test_numbers_as_the_specification_writes_them(text: str, usd: str) -> None:
    assert focus.money(text) == Decimal(usd)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-10-31T23:59:59Z", 31),
        ("2026-10-31T23:30:00-02:00", 1),  # the first of November, in UTC
        ("2026-10-31 00:00:00.000", 31),
        ("2026-10-31", 31),
        ("2026-10-31 23:59:59 UTC", 31),
        ("2026-10-31T23:59:59.999UTC", 31),
    ],
)
def test_moments_are_utc(text: str, day: int) -> None:
    assert focus.moment(text, "ChargePeriodStart").day == day


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GOOD.replace("1.25", ""), "BilledCost is empty"),
        (GOOD.replace("1.25", "NaN"), "BilledCost is no amount"),
        (GOOD.replace("1.25", "1e99"), "BilledCost is no amount"),
        (GOOD.replace("1.25", '"1,25"'), "BilledCost is no number"),
        (GOOD.replace("USD", "EUR"), "only USD"),
        (GOOD.replace("2026-10-03T00:00:00Z", "03.10.2026"), "no date and time"),
        (GOOD.replace("Compute", "null"), "ServiceCategory is empty"),
        (f"{GOOD},more", "6 cells where the header has 5"),
    ],
)
def test_a_bad_line_is_told_by_its_number(line: str, message: str) -> None:
    bill = read(GOOD, line, GOOD)
    ((number, problem),) = bill.problems
    assert number == 3
    assert message in problem
    assert (bill.lines, bill.bad_lines) == (3, 1)
    assert bill.billed_usd == Decimal("2.50")


@pytest.mark.parametrize(
    "header", ["a,b,c", HEADER.replace("ServiceName", "Service"), f"{HEADER},BilledCost", ""]
)
def test_what_has_not_the_columns_is_no_focus(header: str) -> None:
    with pytest.raises(focus.NotFocus):
        read(GOOD, header=header)


@pytest.mark.parametrize(
    ("category", "name", "charge", "stored"),
    [
        ("Compute", "", "Usage", ("Compute", "Compute")),
        ("Other", "null", "Credit", ("Other", "Other")),
        ("", "", "Credit", ("Credit", "Credit")),
        ("", "Support", "Purchase", ("Purchase", "Support")),
    ],
)
def test_charges_of_no_service_stand_under_their_category(
    category: str, name: str, charge: str, stored: tuple[str, str]
) -> None:
    line = f"-1.25,USD,2026-10-03T00:00:00Z,{category},{name},{charge}"
    ((key, (usd, _)),) = read(line, header=f"{HEADER},ChargeCategory").costs.items()
    assert (key.service_category, key.service_name, usd) == (*stored, Decimal("-1.25"))


def test_sums_are_rounded_once() -> None:
    """Three lines of 0.4 nano-dollars are 1.2, and a nano-dollar when they are stored."""
    bill = read(*[GOOD.replace("1.25", "0.0000000004")] * 3)
    ((usd, _),) = bill.costs.values()
    assert usd == Decimal("0.0000000012")
    assert focus.rounded(usd) == bill.billed_usd == Decimal("0.000000001")
    large = ["9999999999.000000000000000001", "0.000000000000000001"]
    bill = read(*(GOOD.replace("1.25", each) for each in large))
    ((usd, _),) = bill.costs.values()
    assert usd == Decimal("9999999999.000000000000000002")


def test_ids_of_columns_in_any_case_and_order() -> None:
    lines = ["\ufeffservicename,SERVICECATEGORY,chargeperiodstart,billingcurrency,billedcost\n"]
    bill = focus.read([*lines, "Machines,Compute,2026-10-03T00:00:00Z,USD,1\n"])
    assert bill.billed_usd == 1
