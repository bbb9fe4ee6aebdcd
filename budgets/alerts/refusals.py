"""Refusals are reported as a kind of their own: grouped, counted, and seldom.

An admission writes the event of a refusal and nothing else. This job counts those events: for each
work order, or shared limit, one report at once, and while it goes on others after 15, 30, 60 …
minutes (`MessagePolicy.refusals_minutes`, doubled for each report of the day).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from budgets.models import Alert
from opslog.database import query
from opslog.outbox.preferences import policy

RECENT = timedelta(minutes=3)  # twice what lies between two runs of the job, and grouped events
LONGEST = timedelta(hours=4)  # between two reports
# Asks that a cap or a quota refused. Of concurrency and throttles the client only has to wait; the
# cost cap of a feature has the denial of its throttle.
OF_WORK_ORDER = ("runs_per_day", "usd_per_day")
OF_PERSONS = ("user_quota", "address_rate")
OF_FEATURE = "feature_rate"
SUBJECT = f"""
CASE WHEN meta->>'reason' IN {OF_WORK_ORDER} THEN owner_id
    WHEN meta->>'reason' = '{OF_FEATURE}' THEN coalesce(meta->>'feature', '') ELSE '' END
"""
REPORTED = f"""
kind = 'RATE_LIMIT_429'
    AND (meta->>'reason' IN {OF_WORK_ORDER + OF_PERSONS} OR meta->>'reason' LIKE 'budget:%%'
        OR (meta->>'reason' = '{OF_FEATURE}' AND message LIKE '%%feature cost cap reached%%'))
"""
SEEN = f"""
SELECT DISTINCT meta->>'reason', {SUBJECT} FROM operations_events
WHERE {REPORTED} AND created_at BETWEEN %(since)s AND clock_timestamp()
"""  # noqa: S608  (constants only)
COUNTED = f"""
SELECT coalesce(sum(tollgate.times(meta)), 0)::bigint, count(DISTINCT meta->>'agentName'),
    count(DISTINCT owner_id), min(created_at), max(created_at),
    (array_agg(meta->>'cap' ORDER BY id DESC))[1]
FROM operations_events
WHERE {REPORTED} AND created_at > %(since)s AND created_at <= clock_timestamp()
    AND meta->>'reason' = %(reason)s
    AND {SUBJECT} = %(subject)s
"""  # noqa: S608
NAMED = "SELECT tollgate.named('work_order', %s)"


@dataclass(frozen=True, slots=True)
class Counted:
    """The refusals of one subject since its last report."""

    times: int
    agents: int
    work_orders: int
    first: datetime
    last: datetime
    cap: str


def report(*, now: datetime) -> int:
    """Write an alert for each subject whose report is due. Returns how many. Safe to run twice."""
    seen = sorted(query.rows(SEEN, {"since": now - RECENT}))
    return sum(_report(reason, subject, now=now) for reason, subject in seen)


def pause_after(reports: int, minutes: int) -> timedelta:
    """How long alerts stay silent after so many reports in a day. Pure."""
    if not reports:
        return timedelta()
    once = timedelta(minutes=minutes)
    return min(once * (1 << min(reports - 1, 8)), max(LONGEST, once))


def _report(reason: str, subject: str, *, now: datetime) -> bool:
    minutes = policy().refusals_minutes
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    reported = Alert.objects.filter(kind=Alert.Kind.REFUSALS, owner_id=subject, meta__denial=reason)
    with transaction.atomic():
        # Two workers at once: one after the other.
        query.run("SELECT pg_advisory_xact_lock(7404, 0)")
        # Pauses begin anew each day; what has been reported stays so over midnight.
        last = reported.filter(created_at__gte=now - timedelta(days=2)).order_by("-id").first()
        lately = reported.filter(created_at__gte=min(day, now - timedelta(minutes=minutes)))
        pause = pause_after(lately.count(), minutes)
        if last is not None and now < last.created_at + pause:
            return False
        since = datetime.fromisoformat(last.meta["until"]) if last else now - RECENT
        found = count(reason, subject, since=since)
        if found is None:
            return False
        Alert.objects.create(
            kind=Alert.Kind.REFUSALS,
            key=f"refusals:{reason}:{subject}:{found.first.timestamp():.6f}",
            message=sentence(reason, _named(reason, subject), found),
            owner_type="work_order" if reason in OF_WORK_ORDER else "",
            owner_id=subject,
            created_at=now,
            meta={
                "denial": reason,
                "subject": subject,
                "times": found.times,
                "agents": found.agents,
                "workOrders": found.work_orders,
                "since": found.first.isoformat(),
                "until": found.last.isoformat(),
                "cap": found.cap,
            },
        )
    return True


def count(reason: str, subject: str, *, since: datetime) -> Counted | None:
    times, agents, work_orders, first, last, cap = query.one(
        COUNTED, {"since": since, "reason": reason, "subject": subject}
    )
    return Counted(times, agents, work_orders, first, last, cap or "") if times else None


def sentence(reason: str, named: str, found: Counted) -> str:
    """ "12 asks refused by the cap of work order Digest since 19:00 UTC (3 agents)". Pure."""
    asks = f"{found.times:,} ask{'' if found.times == 1 else 's'} refused by"
    agents = f"{found.agents:,} agent{'' if found.agents == 1 else 's'}"
    orders = f"{found.work_orders:,} work order{'' if found.work_orders == 1 else 's'}"
    who = agents if reason in OF_WORK_ORDER else f"{agents}, {orders}"
    return f"{asks} {limit_named(reason, named, found.cap)} since {found.first:%H:%M} UTC ({who})"


def limit_named(reason: str, named: str, cap: str) -> str:
    """The limit of a refusal in words. Pure."""
    if reason == "usd_per_day":
        return f"the cap of {named} of ${cap} a day"
    if reason == "runs_per_day":
        return f"the cap of {named} of {cap} runs a day"
    if reason == OF_FEATURE:
        return f"the cost cap of feature {named} of ${cap} an hour"
    if reason == "user_quota":
        return "the quota of each user"
    if reason == "address_rate":
        return "the limit of each source address"
    _, scope, window = [*reason.split(":"), "", ""][:3]
    of = "everything together" if scope == "global" else f"one {scope.replace('_', ' ')}"
    return f"the limit of {of} in the {window.replace('_', ' ')}"


def _named(reason: str, subject: str) -> str:
    if reason not in OF_WORK_ORDER:
        return subject
    return str(query.one(NAMED, [subject])[0])
