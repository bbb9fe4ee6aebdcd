"""What the job worker runs: by the clock, one row per schedule, made after each migration; and when
something happened. It runs nothing else, whatever stands in its tables (`config.job_list`)."""

from dataclasses import dataclass
from typing import Any

from django.utils import timezone


@dataclass(frozen=True)
class Every:
    minutes: int
    task: str  # dotted path of a function without arguments that is safe to run twice


SCHEDULES = {
    "watch processes": Every(1, "opslog.tasks.watch_processes"),
    "watch incidents": Every(5, "opslog.tasks.watch_incidents"),
    "tell of alerts": Every(1, "budgets.tasks.sweep_alerts"),
    "keep hours of spend": Every(1, "budgets.tasks.keep_hours_of_spend"),
    "write grouped refusals": Every(1, "budgets.tasks.flush_refusals"),
    "remind of tokens that expire": Every(60, "workorders.tasks.remind_of_tokens"),
    "mitigate incidents": Every(1, "budgets.tasks.mitigate_incidents"),
    "mirror the day's spend": Every(1, "budgets.tasks.mirror_spend"),
    "triage the cost": Every(15, "budgets.tasks.triage"),
    "expire leases": Every(1, "budgets.tasks.expire_leases"),
    "watch cap change requests": Every(1, "budgets.tasks.watch_requests"),
    "watch accounts": Every(5, "budgets.tasks.watch_accounts"),
    "sum up telemetry": Every(1, "opslog.tasks.sum_up_telemetry"),
    "keep weeks of telemetry": Every(60, "opslog.tasks.keep_weeks_of_telemetry"),
    "tell the daily report": Every(5, "budgets.tasks.tell_daily_report"),
    "measure hotspots": Every(60, "budgets.tasks.measure_hotspots"),
    "open the monthly review": Every(60, "budgets.tasks.open_monthly_review"),
    "watch monthly budgets": Every(60, "budgets.tasks.watch_monthly_budgets"),
    "make log partitions": Every(24 * 60, "opslog.tasks.make_partitions"),
    "tidy counters and idempotency records": Every(60, "budgets.tasks.tidy"),
}


# What is enqueued when something happened (`opslog.jobs.enqueue`).
ON_DEMAND = (
    "opslog.tasks.run_triage",
    "budgets.tasks.tell_alerts",
    "budgets.tasks.triage",
)
JOBS = frozenset((*(every.task for every in SCHEDULES.values()), *ON_DEMAND))


def ensure_schedules(*, using: str, **kwargs: Any) -> None:
    """Makes the rows agree with the table above; the time of the next run stays. As the owner."""
    from django_q.models import Schedule

    rows = Schedule.objects.using(using)
    rows.exclude(name__in=SCHEDULES).delete()
    for name, every in SCHEDULES.items():
        wanted = {
            "func": every.task,
            "schedule_type": Schedule.MINUTES,
            "minutes": every.minutes,
            "repeats": -1,
        }
        rows.update_or_create(
            name=name, defaults=wanted, create_defaults={**wanted, "next_run": timezone.now()}
        )
