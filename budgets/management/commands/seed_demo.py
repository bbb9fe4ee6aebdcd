"""manage.py seed_demo: people, work orders, a token, thirty days of history."""

from io import StringIO
from typing import Any

from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from rich.console import Console
from rich.table import Table

from budgets import approvals
from budgets.demo.cast import PEOPLE, WISHES
from budgets.demo.seeding import DAYS, is_empty, seed
from budgets.demo.service import keep_token
from budgets.models import Measure
from opslog.price_import import bundled
from opslog.pricing import PriceBook


class Command(BaseCommand):
    help = (
        "Fills an empty database with demo people for every tier, work orders, a service token "
        f"and {DAYS} days of history that end yesterday. Passwords and token are printed once."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if not is_empty():
            raise CommandError("The database has people or work orders already; nothing was done.")
        try:
            seeded = seed(book=PriceBook(0, bundled()), now=timezone.now())
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
        for wish in WISHES:
            approvals.ask(
                wish.work_order_id,
                new={Measure.USD_PER_DAY: wish.usd_per_day},
                justification=wish.justification,
                expected_cost_impact=wish.impact,
                by=User.objects.get(username=wish.asked_by),
            )
