"""Log-ins, log-outs and failures as events, by the signals of Django.

A failure is no event of its own: of one person and address, the first is one, and the rest of a
quarter of an hour is another, with a count. Names that nobody has are counted together and not
kept: people type passwords there.
"""

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from budgets.accounts import notices
from budgets.admission import metrics
from budgets.models import FailedLogins
from opslog import events
from opslog.api.client_address import client_address
from opslog.models import Severity

WINDOW = timedelta(minutes=15)
TOLD_FROM = 10  # failures of one person, whatever the addresses


def logged_in(sender: Any, request: HttpRequest | None, user: User, **kwargs: Any) -> None:
    metrics.LOGINS.labels("in").inc()
    _record("USER_LOGGED_IN", f"{user.get_username()} logged in", user, request)


def logged_out(sender: Any, request: HttpRequest | None, user: User | None, **kwargs: Any) -> None:
    if user is not None:  # somebody whose session was over
        metrics.LOGINS.labels("out").inc()
        _record("USER_LOGGED_OUT", f"{user.get_username()} logged out", user, request)


def failed(
    sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
) -> None:
    metrics.LOGINS.labels("failed").inc()
    now = timezone.now()
    with transaction.atomic():
        row = _row(_person(credentials), _address(request), now)
        row.count += 1
        if row.count == 1:
            _tell_of(row)
        row.save()
        if row.person is not None:
            _warn(row.person, now)


def locked_out(request: HttpRequest, username: str) -> None:
    """Tries with this name, or from this address, are refused for a while."""
    with transaction.atomic():
        row = _row(_person({"username": username}), _address(request), timezone.now())
        if row.locked_out:
            return
        row.locked_out = True
        row.save()
        name = row.person.get_username() if row.person else "an unknown name"
        _event(row, "LOGIN_LOCKED_OUT", f"Log-in of {name} is locked for a while")


def record_the_rest() -> int:
    """Write the second event of windows that are over, and drop them. Returns how many windows."""
    over = list(
        FailedLogins.objects.filter(since__lte=timezone.now() - WINDOW).values_list("pk", flat=True)
    )
    for pk in over:
        with transaction.atomic():
            row = (
                FailedLogins.objects.select_for_update(no_key=True, of=("self",))
                .select_related("person")
                .filter(pk=pk, since__lte=timezone.now() - WINDOW)
                .first()
            )
            if row is not None:
                _tell_of(row)
                row.delete()
    return len(over)


def _row(person: User | None, address: str, now: datetime) -> FailedLogins:
    """The window of this person and address, locked; a new one where the last is over."""
    FailedLogins.objects.bulk_create(
        [FailedLogins(person=person, address=address, since=now, count=0, recorded=0)],
        ignore_conflicts=True,
    )
    row = FailedLogins.objects.select_for_update(no_key=True).get(person=person, address=address)
    row.person = person
    if row.since <= now - WINDOW:
        _tell_of(row)
        row.since, row.count, row.recorded, row.locked_out = now, 0, 0, False
    return row


def _tell_of(row: FailedLogins) -> None:
    """Of the failures that no event records yet."""
    more = row.count - row.recorded
    if not more:
        return
    name = row.person.get_username() if row.person else "unknown names"
    _event(
        row,
        "LOGIN_FAILED",
        f"{more} failed log-in{'' if more == 1 else 's'} as {name}",
        count=more,
        since=row.since.isoformat(),
    )
    row.recorded = row.count


def _warn(person: User, now: datetime) -> None:
    """The person and the administrators hear of many failures, once an hour."""
    found = FailedLogins.objects.filter(person=person, since__gt=now - WINDOW)
    failures = found.aggregate(sum=Sum("count"))["sum"] or 0
    if failures < TOLD_FROM:
        return
    minutes = int(WINDOW.total_seconds() // 60)
    notices.notify(
        person,
        f"Many failed log-ins as {person.get_username()}",
        change=f"fewer than {TOLD_FROM} → {failures} failed log-ins in {minutes} minutes",
        by="an unknown person",
        action="If it was not you, somebody may be guessing the password: set a new, longer one, "
        "and look at the addresses.",
        severity=Severity.ERROR,
        topic="failed_logins",
        key=f"{person.pk}:{now:%Y-%m-%dT%H}",
        link=f"{reverse('ops-logs')}?kind=LOGIN_FAILED",
    )


def _record(kind: str, message: str, person: User, request: HttpRequest | None) -> None:
    notices.record(
        kind, message, person, by=person.get_username(), meta={"sourceIp": _address(request)}
    )


def _event(row: FailedLogins, kind: str, message: str, **meta: Any) -> None:
    meta["sourceIp"] = row.address
    if row.person is not None:
        notices.record(kind, message, row.person, by=row.person.get_username(), meta=meta)
    else:
        events.record(kind, message=message, actor="unknown", meta=meta)


def _person(credentials: dict[str, Any]) -> User | None:
    """Of a form of Django's, or of one that takes either name or address as `login`."""
    name = str(credentials.get("username") or credentials.get("login") or "")
    if not name or "\0" in name:  # which PostgreSQL takes in no text
        return None
    return User.objects.filter(username=name).first()


def _address(request: HttpRequest | None) -> str:
    return "" if request is None else client_address(request)
