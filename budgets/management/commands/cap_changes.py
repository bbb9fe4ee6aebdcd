"""`manage.py cap_changes`: what was asked for. It lists; people decide, in a session."""

import json
from typing import Any

from django.core.management.base import CommandParser
from rich.table import Table

from budgets.approvals import WORK_ORDER, lines_of, name_of
from budgets.approvals.wording import changes_of, describe
from budgets.models import ChangeRequest
from budgets.usage import overview
from opslog.management.base import Documented


class Command(Documented):
    examples = ("manage.py cap_changes --status pending --json",)
    help = "Lists cap change requests, newest first. Deciding is done in the admin, or over HTTP."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--status", choices=ChangeRequest.Status.values)
        parser.add_argument("--work-order", metavar="ID")
        parser.add_argument("--limit", type=int, default=50, help="how many at most; default 50")
        parser.add_argument("--json", action="store_true", help="one JSON object a line")

    def handle(self, *args: Any, **options: Any) -> None:
        found = ChangeRequest.objects.select_related("requester").prefetch_related("lines")
        if status := options["status"]:
            pending = status == ChangeRequest.Status.PENDING
            found = found.waiting() if pending else found.filter(status=status)
        if options["work_order"]:
            found = found.filter(subject_type=WORK_ORDER, subject_id=options["work_order"])
        rows = list(found.order_by("-id")[: max(options["limit"], 0)])
        if options["json"]:
            for each in rows:
                self.stdout.write(json.dumps(_as_json(each)))
            return
        if not rows:
            self.stdout.write("No such request.")
            return
        table = Table("#", "limits of", "change", "by", "status", "signatures", "expires (UTC)")
        for each in rows:
            table.add_row(
                str(each.pk),
                name_of(each),
                describe(lines_of(each)),
                each.requester.get_username(),
                each.state,
                ", ".join(
                    f"{slot.group}: {slot.filled_by or 'open'}"
                    for slot in overview.signatures(each)
                ),
                f"{each.expires_at:%Y-%m-%d %H:%M}",
            )
        self.console().print(table)


def _as_json(request: ChangeRequest) -> dict[str, Any]:
    return {
        "id": request.pk,
        "workOrderId": request.subject_id if request.subject_type == WORK_ORDER else None,
        "subjectType": request.subject_type,
        "subjectId": request.subject_id,
        "changes": changes_of(lines_of(request)),
        "requester": request.requester.get_username(),
        "status": request.state,
        "revision": request.revision,
        "signatures": [
            {"group": slot.group, "signedBy": slot.filled_by or None}
            for slot in overview.signatures(request)
        ],
        "createdAt": request.created_at.isoformat(),
        "expiresAt": request.expires_at.isoformat(),
    }
