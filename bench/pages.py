"""Every page of the site with ten million events and a hundred thousand work orders.

    python -m bench.pages                       # some 10 GB, a quarter of an hour
    python -m bench.pages --rows 200000 --orders 2000
    python -m bench.pages --history             # every filter of /ops-logs instead

Lists, one page of each kind of thing, reports, runbooks and the first page, as a superuser, through
Django's whole stack without the network; six requests each, of which the first is kept apart. The
CPU time of either process is given besides: on a machine that others use it is what the figures
mean.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import psutil
import psycopg

from bench import event_history, history, triage
from bench.ground import Ground, ground

BOUND_MS = 500
HISTORY_BOUND_MS = 300
ORDERS = """
INSERT INTO work_orders (id, title, runs_per_day, usd_per_day, status)
SELECT 'wo-' || n, 'Work order ' || n, 100, 2.00, 'draft' FROM generate_series(0, %(orders)s - 1) n
"""
# Of today and of the two days before: a third is idle, a hundredth is at its cap.
USE = """
INSERT INTO counters (key, scope, subject, "window", starts_at, runs, settled_usd)
SELECT tollgate.counter_key('work_order', id, 'day', day), 'work_order', id, 'day', day,
    CASE WHEN n % 100 = 7 THEN 100 ELSE n % 90 END, CASE WHEN n % 50 = 3 THEN 2.00 ELSE n % 190 * 0.01 END
FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM work_orders WHERE id LIKE 'wo-%') numbered,
    (SELECT date_trunc('day', now(), 'UTC') - d * interval '1 day' AS day
     FROM generate_series(0, 2) d) days
WHERE n % 3 <> 0
"""  # noqa: E501


def fill(on: Ground, database: str, rows: int, orders: int) -> None:
    with psycopg.connect(on.superuser_url(database), autocommit=True) as owner:
        owner.execute(ORDERS, {"orders": orders})
        owner.execute(USE)
        owner.execute("VACUUM ANALYZE work_orders")
        owner.execute("VACUUM ANALYZE counters")
    history.fill(on, database, rows // 10, today=False)
    now = datetime.now(UTC)
    triage.fill(on, database, rows // 10, now - timedelta(hours=4), now)


def addresses() -> dict[str, str]:
    """A list and a page of everything that the admin has, and every page of its own."""
    from django.contrib import admin
    from django.contrib.admin.utils import quote
    from django.urls import reverse

    from config.pages.runbooks import RUNBOOKS

    found: dict[str, str] = {}
    for model in admin.site._registry:
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        found[f"list of {model._meta.verbose_name_plural}"] = reverse(f"admin:{name}_changelist")
        one = model._default_manager.order_by("pk").last()
        if one is not None:
            page = reverse(f"admin:{name}_change", args=[quote(one.pk)])
            found[f"{model._meta.verbose_name}"] = page
    orders = reverse("admin:workorders_workorder_changelist")
    report = reverse("daily-report-page")
    today = datetime.now(UTC).date()
    return {
        "the first page": reverse("admin:index"),
        "what renews itself of it": reverse("ops-dashboard-live"),
        **dict(sorted(found.items())),
        "work orders at a cap": f"{orders}?room=full",
        "work orders, the most used": f"{orders}?room=used",
        "work orders, searched": f"{orders}?q=order+777",
        "burn rate": reverse("burn-rate-page"),
        "daily report": report,
        "daily report of today": f"{report}?day={today}",
        "daily report, blocked": f"{report}?only=blocked",
        "forecast": reverse("forecast-page"),
        "runbooks": reverse("runbooks"),
        **{f"runbook {slug}": reverse("runbook", args=[slug]) for slug in RUNBOOKS},
    }


def cpu(process: psutil.Process) -> float:
    """Milliseconds; the system counts in hundredths of a second."""
    times = process.cpu_times()
    return float(times.user + times.system) * 1000


def measure(pages: Mapping[str, str], bound_ms: int) -> int:
    """Figures of each page; gives how many missed the bound."""
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext, setup_test_environment

    setup_test_environment()
    client = Client()
    person = User.objects.create_superuser("reader")
    client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
    client.get("/admin/")
    web = psutil.Process()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        database = psutil.Process(cursor.fetchone()[0])
    missed = 0
    print(
        f"{'page':44}{'first ms':>9}{'median':>8}{'most':>8}{'CPU web':>9}{'CPU db':>8}"
        f"{'queries':>9}{'looked at':>16}"
    )
    for name, address in pages.items():
        taken: list[float] = []
        answer: Any = None
        for _ in range(6):
            if len(taken) == 1:
                used = (-cpu(web), -cpu(database))
            began = time.perf_counter()
            answer = client.get(address, follow=True)
            taken.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, (address, answer.status_code)
        each = [(before + cpu(of)) / 5 for before, of in zip(used, (web, database), strict=True)]
        with CaptureQueriesContext(connection) as asked:
            client.get(address, follow=True)
        found = answer.context.get("found") if answer.context else None
        looked = f"{found.looked_at:,}{' short' * found.short}" if found else ""
        late = max(taken[1:]) > bound_ms
        missed += late
        print(
            f"{name[:43]:44}{taken[0]:9.0f}{median(taken[1:]):8.0f}{max(taken[1:]):8.0f}"
            f"{each[0]:9.0f}{each[1]:8.0f}{len(asked):9}{looked:>16}{'  MISSED' if late else ''}",
            flush=True,
        )
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="events (10,000,000)")
    parser.add_argument("--orders", type=int, default=100_000, help="work orders (100,000)")
    parser.add_argument("--history", action="store_true", help="only the filters of /ops-logs")
    given = parser.parse_args()
    os.environ["LOG_LEVEL"] = "WARNING"
    with ground() as on:
        import django

        began = time.monotonic()
        with psycopg.connect(on.superuser_url(on.template), autocommit=True) as owner:
            event_history.fill(owner, given.rows)
        if not given.history:
            fill(on, on.template, given.rows, given.orders)
        seconds, load = time.monotonic() - began, os.getloadavg()[0]
        print(f"{given.rows:,} events, in {seconds:.0f} s; load {load:.1f}")
        django.setup()
        from opslog.database.another_database import connected_to
        from opslog.telemetry import rollup

        with connected_to(on.template):
            if given.history:
                missed = measure(event_history.addresses(given.rows), HISTORY_BOUND_MS)
            else:
                rollup.mark_stale()
                rollup.refresh()
                missed = measure(addresses(), BOUND_MS)
        print(f"load {os.getloadavg()[0]:.1f} at the end; {missed} too slow")
    return 0


if __name__ == "__main__":
    sys.exit(main())
