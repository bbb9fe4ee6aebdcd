"""The runbooks: what to do when something happens, with the figures and levers of this moment.

They join all floors and have no rule of their own: every number is read from the row that holds it,
and every step links to the page that does it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import permission_required
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from budgets import clock
from budgets.admin.forms import rules_table
from budgets.admin.limits import UNITS, sentence, told_at, whose
from budgets.admission import preflight, preflight_checks
from budgets.approvals import CAPS
from budgets.controls import breaker, limits
from budgets.environment import stamped_environment
from budgets.evidence import risk
from budgets.finops import contacts
from budgets.finops.bills import actuals
from budgets.models import (
    Budget,
    CircuitBreaker,
    DimensionBudget,
    FeatureControl,
    Hotspot,
    KillSwitch,
    Measure,
)
from budgets.reports.rules import IDLE, NEAR
from budgets.usage import callers, overview, spike_signs, today
from opslog.admin.base import page_of
from opslog.triage import thresholds
from workorders.models import WorkOrder

Facts = dict[str, Any]
MAY = "budgets.view_budget"
KNOWN = 100  # work orders that the picker knows by name; any other is found by its id


@dataclass(frozen=True, slots=True)
class Runbook:
    """`about` is one line for the list; `facts` reads what its page shows."""

    slug: str
    title: str
    about: str
    icon: str
    facts: Callable[[WorkOrder | None], Facts]


def people(*topics: str) -> Facts:
    found = contacts.active(*topics)
    known = contacts.people_of(found)
    return {"contacts": [(each, known[each.pk]) for each in found]}


def of_a_cap(measure: Measure) -> Callable[[WorkOrder | None], Facts]:
    """What both cap runbooks show: who is at the cap, and who must agree to a higher one."""

    def read(work_order: WorkOrder | None) -> Facts:
        begins = clock.midnight()
        asked = overview.with_use(WorkOrder.objects.exclude(status="archived"), begins)
        rules = [each for each in rules_table() if each["rule"].measure == measure]
        return {
            "measure": measure.value,
            "full": overview.at_cap(measure, begins, at_most=20),
            "use": asked.get(pk=work_order.pk) if work_order else None,
            "agents": callers.agents_of(work_order.pk, begins.date()) if work_order else [],
            "reset_at": begins + timedelta(days=1),
            "retry_after": settings.TOLLGATE_RETRY_AFTER,
            "rules": rules,
            "burst_runs": risk.BURST_RUNS,
            "expensive_average": risk.EXPENSIVE_AVERAGE_USD,
            "expensive_run": risk.EXPENSIVE_RUN_USD,
            "spike_factor": risk.SPIKE_FACTOR,
            **people("caps", "large_caps"),
        }

    return read


def of_suspicion(work_order: WorkOrder | None) -> Facts:
    return {
        "starts": callers.recent(work_order.pk if work_order else ""),
        "newest": callers.NEWEST,
        "refusals": overview.last_refusals(at_most=10),
        "address_limit": Budget.objects.filter(scope="address").exclude(amount=None).first(),
        **people("abuse"),
    }


def of_a_spike(work_order: WorkOrder | None) -> Facts:
    return {
        "signs": spike_signs.read(),
        "rise": round((thresholds.RISE - 1) * 100),
        "controls": list(FeatureControl.objects.all()[:20]),
        **people("breach", "provider"),
    }


def limits_in_use(rows: "QuerySet[Budget]") -> list[Facts]:
    """Limits with what is used of each, the fullest first."""
    found = list(rows.exclude(amount=None)[:50])
    uses = limits.use_of([each.pk for each in found])
    facts: list[Facts] = []
    for each in found:
        use = uses[each.pk]
        facts.append(
            {
                "limit": each,
                "what": sentence(each),
                "whose": whose(each),
                "used": use.used,
                "unit": UNITS[each.measure],
                "share": use.used / each.amount if each.amount else Decimal(0),
                "subject": use.subject,
                "alerts_at": told_at(each),
            }
        )
    return sorted(facts, key=lambda row: row["share"], reverse=True)[:20]


def of_a_breach(work_order: WorkOrder | None) -> Facts:
    dollars = Budget.objects.filter(measure="usd").exclude(scope="work_order")
    hotspots = list(Hotspot.objects.all()[:30])
    budgets = list(DimensionBudget.objects.order_by("dimension"))
    month = actuals.of_month(actuals.first_of(clock.today()))
    for each in budgets:
        figure = month[each.dimension]
        each.used = figure.usd + figure.reserved  # type: ignore[attr-defined]
        each.share = each.used / each.monthly_usd if each.monthly_usd else None  # type: ignore[attr-defined]
    return {
        "limits": limits_in_use(dollars),
        "today": today.usage_of_all(),
        "pace": breaker.committed(),
        "budgets": [each for each in budgets if each.monthly_usd is not None],
        "branches": {
            each.dimension: {
                "budget": each,
                "hotspots": [spot for spot in hotspots if spot.dimension == each.dimension],
            }
            for each in budgets
        },
        "controls": list(FeatureControl.objects.all()[:20]),
        "stopped": list(KillSwitch.objects.filter(enabled=True)[:10]),
        "retention_days": settings.TOLLGATE_EVENT_RETENTION_DAYS,
        **people("breach", "provider"),
    }


def of_production(work_order: WorkOrder | None) -> Facts:
    """What stands between this moment and a run that costs money."""
    shared = Budget.objects.filter(scope__in=("global", "model_tier"))
    named = WorkOrder.objects.exclude(status="archived").values_list("pk", "title")
    return {
        "environment": settings.TOLLGATE_ENVIRONMENT,
        "stamped": stamped_environment(),
        "limits": limits_in_use(shared),
        "suspicious": [
            {"pk": pk, "title": title}
            for pk, title in named.order_by("pk")[:2000]
            if preflight_checks.looks_like_test_data(f"{pk} {title}")
        ][:20],
        "today": today.usage_of_all(),
        "rules": preflight.rules(),
        "confirm_over": settings.TOLLGATE_CONFIRM_OVER_USD,
        "stopped": list(KillSwitch.objects.filter(enabled=True)[:10]),
        "breakers": list(CircuitBreaker.objects.exclude(state="closed").exclude(subject="*")[:10]),
        **people("caps", "breach"),
    }


def of_spending_code(work_order: WorkOrder | None) -> Facts:
    return {"confirm_over": settings.TOLLGATE_CONFIRM_OVER_USD}


def of_caps(work_order: WorkOrder | None) -> Facts:
    new = WorkOrder()  # with the defaults that one begins with
    defaults = {measure: getattr(new, measure) for measure in CAPS}
    return {
        "defaults": defaults,
        "reset_at": clock.midnight() + timedelta(days=1),
        "retry_after": settings.TOLLGATE_RETRY_AFTER,
        "rules": rules_table(),
        "near": NEAR,
        "idle": IDLE,
        "confirm_over": settings.TOLLGATE_CONFIRM_OVER_USD,
        **people("caps"),
    }


def of_contacts(work_order: WorkOrder | None) -> Facts:
    return people()


RUNBOOKS = {
    each.slug: each
    for each in (
        Runbook(
            "runs-429",
            "Refused: runs a day",
            "A start got 429 with “runs/day cap reached”.",
            "format_list_numbered",
            of_a_cap(Measure.RUNS_PER_DAY),
        ),
        Runbook(
            "usd-429",
            "Refused: dollars a day",
            "A start got 429 with “budget cap reached”.",
            "attach_money",
            of_a_cap(Measure.USD_PER_DAY),
        ),
        Runbook(
            "suspicious",
            "Suspicious activity",
            "Runs that nobody expected: who started what, and from where.",
            "policy",
            of_suspicion,
        ),
        Runbook(
            "cost-spike",
            "Cost spike",
            "Models cost more than they did yesterday.",
            "trending_up",
            of_a_spike,
        ),
        Runbook(
            "budget-breach",
            "Budget breach",
            "A budget is used up, or soon will be: five phases.",
            "gpp_maybe",
            of_a_breach,
        ),
        Runbook(
            "caps",
            "Caps, for those who are new",
            "What a cap is, why a start is refused, and how to ask for more.",
            "school",
            of_caps,
        ),
        Runbook(
            "production-run",
            "Before a production run",
            "Environment, test data, limits, capacity and a dry run, in this order.",
            "checklist",
            of_production,
        ),
        Runbook(
            "spending-code",
            "Code that spends, for those who write it",
            "What to build in, and six questions for its review.",
            "code",
            of_spending_code,
        ),
        Runbook("contacts", "Whom to call", "Names and ways to reach them.", "call", of_contacts),
    )
}


@require_safe
@permission_required(MAY, raise_exception=True)
def runbooks(request: HttpRequest) -> HttpResponse:
    """The list."""
    return page_of(request, "runbooks/index.html", title="Runbooks", runbooks=RUNBOOKS.values())


@require_safe
@permission_required(MAY, raise_exception=True)
def runbook(request: HttpRequest, slug: str) -> HttpResponse:
    """One of them; `?work_order=ID` puts that work order's figures into it."""
    found = RUNBOOKS.get(slug)
    if found is None:
        raise Http404("There is no such runbook.")
    asked = request.GET.get("work_order", "")
    work_order = (
        WorkOrder.objects.filter(pk=asked).first() if asked and "\x00" not in asked else None
    )
    facts = {
        "runbook": found,
        "work_order": work_order,
        "asked": asked.replace("\x00", "")[:200],
        "known": WorkOrder.objects.exclude(status="archived").order_by("pk")[:KNOWN],
        "of_this": urlencode({"work_order": work_order.pk}) if work_order else "",
        **found.facts(work_order),
    }
    template = f"runbooks/{slug.replace('-', '_')}.html"
    return page_of(request, template, title=found.title, **facts)
