"""Costs other than runs: the kinds of bills, their monthly budgets, and what was billed."""

from django.contrib.auth.models import Group
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from workorders.models import CostDimension


class DimensionBudget(models.Model):
    """The monthly budget of one kind of bill, with its owner and its alert tiers.

    It informs and never refuses: bills come after the fact. What may be *spent* on a dimension is a
    limit (`budgets`, scope cost dimension). LLM is counted by ourselves; the rest is imported.
    """

    dimension = models.TextField(unique=True, choices=CostDimension)
    owner = models.ForeignKey(Group, on_delete=models.PROTECT, related_name="+")
    monthly_usd = models.DecimalField(
        "budget, $ a month",
        max_digits=14,
        decimal_places=2,
        null=True,
        blank=True,
        help_text="Empty: none is set.",
    )
    tiers = ArrayField(
        models.SmallIntegerField(),
        default=list,
        help_text="People are told once at each, in per cent of the budget.",
    )
    covers = models.TextField(
        blank=True, db_default="", default="", help_text="What belongs to it, in a sentence."
    )
    aws_services = ArrayField(
        models.TextField(),
        default=list,
        blank=True,
        help_text="The cost filter of the Terraform export: services as AWS bills name them.",
    )

    class Meta:
        db_table = "dimension_budgets"
        verbose_name = "monthly budget"
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(dimension__in=CostDimension.values), name="dimension_budgets_dimension"
            ),
            models.CheckConstraint(
                condition=Q(monthly_usd=None) | Q(monthly_usd__gt=0),
                name="dimension_budgets_positive",
            ),
            models.CheckConstraint(
                condition=Q(tiers__len__gt=0) & Q(tiers__contained_by=list(range(1, 201))),
                name="dimension_budgets_tiers",
            ),
        )

    def __str__(self) -> str:
        label = str(self.get_dimension_display())
        return label[:1].upper() + label[1:]


class ServiceMapping(models.Model):
    """Which dimension a line of a bill belongs to: by its FOCUS ServiceCategory, or by category and
    ServiceName, which wins. It is applied when figures are read, so a change holds for the past."""

    service_category = models.TextField(help_text="As FOCUS names it: Compute, Storage, …")
    service_name = models.TextField(
        blank=True, db_default="", default="", help_text="Empty: every service of the category."
    )
    dimension = models.TextField(choices=CostDimension)

    class Meta:
        db_table = "service_mappings"
        ordering = ("service_category", "service_name")
        constraints = (
            models.UniqueConstraint(
                fields=("service_category", "service_name"), name="service_mappings_once"
            ),
            models.CheckConstraint(
                condition=~Q(service_category="") & Q(dimension__in=CostDimension.values),
                name="service_mappings_known",
            ),
        )

    def __str__(self) -> str:
        return f"{self.service_category} {self.service_name}".strip()


class BillImport(models.Model):
    """One file that was read, and what became of it."""

    file_name = models.TextField()
    sha256 = models.TextField()
    lines = models.IntegerField()
    bad_lines = models.IntegerField()
    billed_usd = models.DecimalField(max_digits=20, decimal_places=9)
    periods = ArrayField(models.TextField(), help_text="Bill and month that it replaced.")
    imported_by = models.TextField()
    imported_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "bill_imports"
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(lines__gte=0, bad_lines__gte=0), name="bill_imports_sane"
            ),
        )

    def __str__(self) -> str:
        return self.file_name


class BilledCost(models.Model):
    """What one service of one bill cost on one UTC day: the sum of its lines' BilledCost.

    A charge counts whole for the day on which its charge period starts. An import replaces all rows
    of a (bill, billing period), so that a file may be read again, and a corrected one replaces.
    """

    bill = models.TextField(help_text="Provider and billing account.")
    billing_period = models.DateField(help_text="The first day of it.")
    day = models.DateField()
    service_category = models.TextField()
    service_name = models.TextField()
    charge_category = models.TextField(db_default="")
    billed_usd = models.DecimalField(max_digits=20, decimal_places=9)
    lines = models.IntegerField()
    source = models.ForeignKey(BillImport, on_delete=models.PROTECT, related_name="costs")

    class Meta:
        db_table = "billed_costs"
        ordering = ("day", "service_category", "service_name")
        indexes = (models.Index(fields=("day",), name="billed_costs_day"),)
        constraints = (
            models.UniqueConstraint(
                fields=(
                    "bill",
                    "billing_period",
                    "day",
                    "service_category",
                    "service_name",
                    "charge_category",
                ),
                name="billed_costs_once",
            ),
            models.CheckConstraint(
                condition=~Q(service_category="") & Q(lines__gt=0), name="billed_costs_sane"
            ),
        )

    def __str__(self) -> str:
        return f"{self.day:%Y-%m-%d} {self.service_name}"
