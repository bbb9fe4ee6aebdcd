"""Reminders at 25, 50 and 75 % of a request's life; at 75 % administrators are notified too."""

from datetime import datetime

from django.db import transaction
from django.utils import timezone

from budgets.approvals import notices
from budgets.approvals.needs import slots_of
from budgets.approvals.people import may_decide, voters
from budgets.exceptions import Refused
from budgets.models import ChangeRequest
from opslog.groups import members

STEPS = (0.25, 0.50, 0.75)


def steps_due(created_at: datetime, expires_at: datetime, now: datetime) -> int:
    """How many of the three moments are past."""
    life = (expires_at - created_at).total_seconds()
    lived = (now - created_at).total_seconds()
    return sum(lived >= step * life for step in STEPS)


def remind() -> int:
    """Send what is due; returns for how many requests. Safe to run twice: each step is claimed by a
    conditional update. After a pause only the latest step is sent, not all that were missed."""
    now = timezone.now()
    reminded = 0
    pending = ChangeRequest.objects.waiting().filter(reminders__lt=len(STEPS))
    for request in pending:
        due = steps_due(request.created_at, request.expires_at, now)
        if due <= request.reminders:
            continue
        with transaction.atomic():
            claimed = ChangeRequest.objects.filter(
                pk=request.pk,
                status=ChangeRequest.Status.PENDING,
                reminders=request.reminders,
            ).update(reminders=due)
            if not claimed:
                continue
            try:
                needed = set(slots_of(request))
            except Refused:
                needed = set()
            people = [user for user in voters(needed) if not may_decide(request, user)]
            if due == len(STEPS):
                people += [user for user in members("administrator") if user not in people]
            notices.reminder(request, due, people)
            reminded += 1
    return reminded
