from django.urls import reverse
from django.test import Client
from budgets.evidence import evidence_for
from django.utils import timezone
from workorders.models import WorkOrder
from django.core.management import call_command
from tests.access.walking import logged_in
from tests.figures.reading import read

def test_try(viewer):
    call_command("verify_counters")
    for wo in WorkOrder.objects.all():
        e = evidence_for(wo.pk, new_runs_per_day=None, new_usd_per_day=None, now=timezone.now())
        i = e.what_if.in_force
        print(wo.pk, e.what_if.reproduced, i.would_run, i.displaced, [(d.day, d.would_run, d.displaced) for d in i.days if d.would_run or d.displaced])
    client = logged_in(viewer)
    names = {}
    for url in ["/ops-dashboard", "/admin/burn-rate/", reverse("daily-report-page"), "/admin/forecast/", *[f"/admin/runbooks/{s}/?work_order=edge" for s in ("runs-429","usd-429","suspicious","cost-spike","budget-breach","caps")], "/admin/workorders/workorder/edge/change/", "/admin/budgets/budget/", "/admin/budgets/dimensionbudget/", "/admin/budgets/hotspot/", "/admin/budgets/circuitbreaker/", "/admin/workorders/workorder/", "/admin/workorders/run/", "/admin/opslog/inferencehour/", "/admin/opslog/incident/", "/admin/budgets/featurecontrol/1/change/", "/admin/budgets/monthlyreview/1/change/", "/admin/budgets/dimensionbudget/1/change/","/admin/opslog/incident/1/change/", "/admin/budgets/hotspot/1/change/"]:
        r = client.get(url, follow=True)
        page = read(r.content.decode())
        print("==", url, r.status_code)
        for n, f in page.figures.items():
            names.setdefault(n, []).append(url)
            print("  ", n, {k: [str(x) for x in v][:2] for k, v in list(f.items())[:3]}, len(f))
        for u in page.unnamed: print("   UNNAMED", u[:150])
    print(len(names))
