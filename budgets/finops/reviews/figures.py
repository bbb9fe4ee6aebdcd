"""What a review shows: the month against its budgets and the month before, and what was unusual."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from django.db.models import Q, QuerySet
from django.urls import reverse

from budgets.finops.bills import actuals
from budgets.models import Alert, DimensionBudget
from opslog.models import Incident
from opslog.pricing.money import usd_text
from opslog.telemetry import rollup

ANOMALIES = 50


def take(month: date) -> dict[str, Any]:
    """As plain JSON, money as text: what is signed must not change by itself. Stale telemetry is
    summed up first, as `monthly_budgets.watch` does."""
    rollup.refresh()
    now, before = actuals.of_month(month), actuals.of_month(actuals.month_before(month))
    rows = []
    for budget in DimensionBudget.objects.select_related("owner"):
        figure, last = now[budget.dimension], before[budget.dimension]
        rows.append(
            {
                "dimension": budget.dimension,
                "label": str(budget),
                "covers": budget.covers,
                "owner": budget.owner.name,
                "source": figure.source,
                "usd": usd_text(figure.usd),
                "last": usd_text(last.usd),
                "budget": _text(budget.monthly_usd),
                "tiers": sorted(budget.tiers),
                "passed": actuals.tiers_passed(figure.usd, budget),
                "governed": _text(figure.governed),
                "ungoverned": _text(figure.ungoverned),
                "billed": _text(figure.billed),
            }
        )
    unmapped = actuals.unmapped(month)
    return {
        "dimensions": rows,
        "unmapped": [[category, name, usd_text(usd)] for category, name, usd in unmapped],
        "unmappedUsd": usd_text(now[""].usd) if "" in now else "0.00",
        "unmappedLast": usd_text(before[""].usd) if "" in before else "0.00",
        "incidents": (incidents := incidents_of(month)),
        "moreIncidents": _incidents(month).count() - len(incidents),
        "alerts": (alerts := _told(month)),
        "moreAlerts": _alerts(month).count() - len(alerts),
    }


def incidents_of(month: date) -> list[dict[str, str]]:
    """Cost spikes that began in the month, with their cost above the usual, costliest first."""
    return [
        {
            "title": f"{incident.get_cause_display()}"
            + (f", {incident.feature}" if incident.feature else ""),
            "state": incident.get_state_display(),
            "began": f"{incident.started_at.astimezone(UTC):%Y-%m-%d %H:%M}",
            "usd": f"${incident.excess_usd_of_all_phases:,.2f}",
            "link": reverse("admin:opslog_incident_change", args=[incident.pk]),
        }
        for incident in _incidents(month).order_by("-excess_usd_total", "id")[:ANOMALIES]
    ]


def shown(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a review with their numbers as numbers, and the sums."""
    rows = [
        {
            **row,
            "usd": Decimal(row["usd"]),
            "last": Decimal(row["last"]),
            "change": change(Decimal(row["usd"]), Decimal(row["last"])),
            "budget": _number(row["budget"]),
            "share": share(Decimal(row["usd"]), _number(row["budget"])),
            "governed": _number(row["governed"]),
            "ungoverned": _number(row.get("ungoverned")),
            "billed": _number(row["billed"]),
        }
        for row in figures["dimensions"]
    ]
    extra = Decimal(figures["unmappedUsd"])
    total = sum((row["usd"] for row in rows), extra)
    # Figures that were taken before this one was kept have none.
    last = sum((row["last"] for row in rows), Decimal(figures.get("unmappedLast", "0.00")))
    budgets = [row["budget"] for row in rows if row["budget"] is not None]
    return {
        "rows": rows,
        "unmapped": [(cat, name, Decimal(usd)) for cat, name, usd in figures["unmapped"]],
        "unmapped_usd": extra,
        "total": total,
        "last": last,
        "change": change(total, last),
        "budget": sum(budgets, Decimal(0)) if budgets else None,
        "incidents": figures["incidents"],
        "more_incidents": figures.get("moreIncidents", 0),
        "alerts": figures["alerts"],
        "more_alerts": figures.get("moreAlerts", 0),
    }


def change(now: Decimal, before: Decimal) -> Decimal | None:
    """Against the month before, as a share of it; none where there was nothing."""
    return (now - before) / before if before else None


def share(used: Decimal, budget: Decimal | None) -> Decimal | None:
    return used / budget if budget else None


def _incidents(month: date) -> "QuerySet[Incident]":
    begins, ends = _bounds(month)
    return Incident.objects.filter(started_at__gte=begins, started_at__lt=ends)


def _alerts(month: date) -> "QuerySet[Alert]":
    """Those that are about the month: bills come late, so a tier of it may be reached after it. All
    others are about the moment they were made at."""
    begins, ends = _bounds(month)
    made_then = Q(meta__month__isnull=True, created_at__gte=begins, created_at__lt=ends)
    return Alert.objects.filter(Q(meta__month=f"{month:%Y-%m}") | made_then)


def _told(month: date) -> list[dict[str, str]]:
    """The newest alerts of the month."""
    return [
        {
            "id": str(alert.pk),
            "at": f"{alert.created_at.astimezone(UTC):%Y-%m-%d %H:%M}",
            "message": alert.message,
        }
        for alert in _alerts(month).order_by("-id")[:ANOMALIES]
    ]


def _bounds(month: date) -> tuple[datetime, datetime]:
    begins = datetime.combine(month, time(), UTC)
    return begins, datetime.combine(actuals.month_after(month), time(), UTC)


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else usd_text(amount)


def _number(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
