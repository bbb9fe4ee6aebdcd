"""The lines of a bill in the FOCUS format."""

HEADER = "BilledCost,BillingCurrency,ChargePeriodStart,ServiceCategory,ServiceName"


def line(usd: str, day: int = 3, category: str = "Compute", name: str = "Machines") -> str:
    return f"{usd},USD,2026-10-{day:02}T00:00:00Z,{category},{name}"
