"""`manage.py export_terraform`: the monthly budgets as AWS budget resources."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser

from budgets import clock
from budgets.finops.bills.terraform import CloudBudget, document
from budgets.models import DimensionBudget
from opslog.management.base import Documented


class Command(Documented):
    examples = ("manage.py export_terraform --email finance@example.org > budgets.tf.json",)
    help = "Print Terraform (JSON) with one aws_budgets_budget for each monthly budget."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--email",
            action="append",
            default=[],
            help="Who is notified. May be repeated; left out: the people of the owning groups.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        found = list(DimensionBudget.objects.exclude(monthly_usd=None))
        filtered = [each for each in found if each.aws_services]
        for each in found:
            if not each.aws_services:
                self.stderr.write(f"{each} is left out: it names no service for the cost filter.")
        if not filtered:
            raise CommandError("No monthly budget with services is set. See Monthly budgets.")
        owners = {each.owner_id for each in filtered}
        people = User.objects.filter(is_active=True, groups__in=owners).exclude(email="").distinct()
        emails = options["email"] or sorted(people.values_list("email", flat=True))
        budgets = [
            CloudBudget(each.dimension, each.monthly_usd, each.tiers, each.aws_services)
            for each in filtered
            if each.monthly_usd is not None
        ]
        self.stdout.write(document(budgets, start=clock.today(), emails=emails), ending="")
