"""manage.py seed_demo: people, work orders, a token, thirty days of history."""

from datetime import timedelta
from io import StringIO
from typing import Any

from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone
from rich.console import Console
from rich.table import Table

from budgets import approvals
from budgets.demo import bills
from budgets.demo.cast import PEOPLE, SERVICE_OWNER, WISHES
from budgets.demo.product import RELEASE, RELEASE_HOURS, RELEASED
from budgets.demo.seeding import DAYS, is_empty, seed
from budgets.demo.service import keep_token
from budgets.models import Measure
from opslog.management.base import Documented
from opslog.models import ChangeMarker
from opslog.price_book.imported import bundled
from opslog.pricing import PriceBook
from opslog.telemetry import change_markers, rollup


class Command(Documented):
    examples = ("manage.py seed_demo",)
    exits = {1: "the database has people or work orders already"}
    help = (
        "Fills an empty database with demo people for every tier, work orders, a service token "
        f"{DAYS} days of history and what there was of today. Passwords and token are printed once."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if not is_empty():
            raise CommandError("The database has people or work orders already; nothing was done.")
        try:
            now = timezone.now()
            seeded = seed(book=PriceBook(0, bundled()), now=now)
        except LookupError as error:
            raise CommandError(str(error)) from None
        keep_token(seeded.token)
        console = Console(soft_wrap=True)
        table = Table(title="Demo people (shown once)", title_justify="left")
        for heading in ("user", "password", "may"):
            table.add_column(heading, no_wrap=heading != "may")
        for person in PEOPLE:
            table.add_row(person.username, seeded.passwords[person.username], person.may)
        console.print(table)
        console.print(f"Service token (shown once): {seeded.token}", markup=False, highlight=False)
        console.print(
            f"{seeded.runs:,} runs, {seeded.refusals:,} refusals and {seeded.calls:,} calls of "
            f"models of {DAYS} days."
        )
        # After the history, so that the log's order is that of time.
        call_command("update_prices", apply=True, reason="prices for the demo", stdout=StringIO())
        this_hour = now.replace(minute=0, second=0, microsecond=0)
        change_markers.record_change(
            kind=ChangeMarker.Kind.DEPLOY,
            what=RELEASE,
            feature=RELEASED.name,
            by=SERVICE_OWNER,
            now=now,
            happened_at=this_hour - timedelta(hours=RELEASE_HOURS, minutes=20),
        )
        rollup.refresh()  # a review counts models from the sums of hours
        bills.write(now.date())
        for wish in WISHES:
            approvals.ask(
                wish.work_order_id,
                new={Measure.USD_PER_DAY: wish.usd_per_day},
                justification=wish.justification,
                expected_cost_impact=wish.impact,
                by=User.objects.get(username=wish.asked_by),
            )
