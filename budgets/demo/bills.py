"""Two months of bills and the monthly budgets of the demo, by the same doors as real ones.

The bill is made up: an ordinary small installation. One charge belongs to no kind of bill, as it
happens with real files, so that somebody has something to map.
"""

import csv
import hashlib
import io
from datetime import date, timedelta
from decimal import Decimal

from budgets.finops.bills import actuals, focus, importing, monthly_budgets
from budgets.finops.reviews import working
from budgets.models import DimensionBudget

BY = "finance"
ISSUER, ACCOUNT = "Amazon Web Services", "demo-account"
COLUMNS = (
    "BilledCost", "BillingCurrency", "BillingPeriodStart", "BillingAccountId", "ChargeCategory",
    "ChargePeriodStart", "InvoiceIssuerName", "ServiceCategory", "ServiceName",
)  # fmt: skip
# ServiceCategory, ServiceName, US dollars a day in the month before last and in the last.
SERVICES = (
    ("Compute", "Amazon Elastic Compute Cloud - Compute", "4.12", "4.31"),
    ("Compute", "AWS Lambda", "0.27", "0.36"),
    ("Storage", "Amazon Simple Storage Service", "0.58", "0.66"),
    ("Databases", "Amazon Relational Database Service", "1.02", "1.04"),
    ("Networking", "Amazon Virtual Private Cloud", "0.41", "0.39"),
    ("Networking", "Amazon Route 53", "0.03", "0.03"),
    ("Management and Governance", "AmazonCloudWatch", "0.71", "1.13"),
    ("Developer Tools", "AWS CodeBuild", "0.52", "0.55"),
    ("Other", "Support plan", "0.97", "0.97"),
)
# US dollars a month. Logging went over its first tier in the last month; models stay within theirs.
BUDGETS = {
    "llm_api": 300,
    "compute": 220,
    "storage": 80,
    "logging": 40,
    "network": 25,
    "ci_cd": 30,
}


def write(today: date) -> None:
    """Budgets, the bills of the last two months, and the reviews of the months that are over."""
    for budget in DimensionBudget.objects.all():
        values = {name: getattr(budget, name) for name in monthly_budgets.FIELDS}
        values["monthly_usd"] = Decimal(BUDGETS[budget.dimension])
        monthly_budgets.change(budget.pk, values, reason="budgets for the demo", by=BY)
    last = actuals.month_before(actuals.first_of(today))
    for month, column in ((actuals.month_before(last), 2), (last, 3)):
        text = bill(month, column)
        importing.store(
            focus.read(io.StringIO(text)),
            file_name=f"focus-{month:%Y-%m}.csv",
            sha256=hashlib.sha256(text.encode()).hexdigest(),
            by=BY,
        )
    working.open_due(today)


def bill(month: date, column: int) -> str:
    """A line a day and service, weekends at half of what machines and builds cost on workdays."""
    out = io.StringIO()
    lines = csv.writer(out)
    lines.writerow(COLUMNS)
    day = month
    while day < actuals.month_after(month):
        for service in SERVICES:
            category, name = service[:2]
            usd = Decimal(service[column])
            if day.weekday() >= 5 and category in ("Compute", "Developer Tools"):
                usd /= 2
            start = f"{day:%Y-%m-%d}T00:00:00Z"
            period = f"{month:%Y-%m-%d}T00:00:00Z"
            lines.writerow((usd, "USD", period, ACCOUNT, "Usage", start, ISSUER, category, name))
        day += timedelta(days=1)
    return out.getvalue()
