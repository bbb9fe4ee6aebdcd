"""Cap changes: asked for by one person, decided by others, applied in one transaction.

The same functions stand behind the admin's forms, its bulk action, the REST API and the jobs.
Locks, in this order: the request, the subject's row, its counter (by a trigger). Everything is read
again after the lock; exactly one terminal transition wins.
"""

from budgets.approvals.break_glass import (
    own_review,
    raise_at_once,
    report_overdue,
    review,
    unreviewed,
)
from budgets.approvals.completing import complete_pending
from budgets.approvals.decisions import decide, decide_many, needs_password
from budgets.approvals.ending import close_overdue
from budgets.approvals.lowering import end_early, in_force, limit_of, lower
from budgets.approvals.needs import Known, lines_of, slots_for
from budgets.approvals.people import (
    ROLES,
    OpenSlot,
    holds,
    impossible,
    impossible_requests,
    may_decide,
    named_parties,
    open_slots,
    solo_signature,
    votes_of,
    waiting,
    waiting_for,
    with_parties,
)
from budgets.approvals.reminders import remind
from budgets.approvals.requests import (
    ask,
    cancel,
    edit,
    may_edit,
    may_set_aside,
    set_aside,
)
from budgets.approvals.subjects import CAPS, WORK_ORDER, caps_of, name_of, names_of

__all__ = [
    "CAPS",
    "ROLES",
    "WORK_ORDER",
    "Known",
    "OpenSlot",
    "ask",
    "break_glass",
    "cancel",
    "caps_of",
    "close_overdue",
    "complete_pending",
    "corrections",
    "decide",
    "decide_many",
    "edit",
    "end_early",
    "holds",
    "impossible",
    "impossible_requests",
    "in_force",
    "limit_of",
    "lines_of",
    "lower",
    "may_decide",
    "may_edit",
    "may_set_aside",
    "name_of",
    "named_parties",
    "names_of",
    "needs",
    "needs_password",
    "open_slots",
    "own_review",
    "people",
    "raise_at_once",
    "remind",
    "report_overdue",
    "review",
    "rule_changes",
    "rules",
    "set_aside",
    "slots_for",
    "solo_operator",
    "solo_signature",
    "subjects",
    "unreviewed",
    "verification",
    "votes_of",
    "waiting",
    "waiting_for",
    "with_parties",
    "wording",
]
