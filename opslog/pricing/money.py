"""Money: US dollars as Decimal, kept to a billionth.

A single input token of a small model costs less than a millionth of a dollar, so cents are too
coarse for costs; caps, which people set, are whole cents.
"""

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, InvalidOperation

NANO = Decimal("0.000000001")
CENT = Decimal("0.01")
MAX_USD = Decimal("1000000")  # one run, one estimate, one extension


def usd(value: Decimal | str | int) -> Decimal:
    """`value` in dollars, rounded half to even at nine decimals: the one rounding there is.

    Raises ValueError for what is no finite number.
    """
    try:
        amount = Decimal(value)
        return amount.quantize(NANO, rounding=ROUND_HALF_EVEN)
    except InvalidOperation as error:
        raise ValueError(f"not an amount of money: {value!r}") from error


def usd_text(amount: Decimal) -> str:
    """The amount as the API sends it: no exponent, at least cents, no trailing zeros beyond."""
    text = f"{amount:f}"
    if "." not in text:
        return text + ".00"
    whole, fraction = text.split(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"


def usd_shown(amount: Decimal) -> str:
    """The amount as a sentence has it: two decimals; less than a cent by its first two figures, so
    that what costs something never reads as nothing."""
    step = CENT if not amount or abs(amount) >= CENT else Decimal(1).scaleb(amount.adjusted() - 1)
    return f"{amount.quantize(step, ROUND_HALF_UP):,f}"
