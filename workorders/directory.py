"""Registering work orders, and stopping and resuming them."""

import re
import secrets

from django.db import IntegrityError, transaction

from opslog import events
from opslog.exceptions import NotAllowedNow
from workorders.exceptions import AlreadyExists, ReservedId
from workorders.models import RESERVED_IDS, WorkOrder

DEFAULT_CONCURRENT_RUNS = 2


def make_id(title: str) -> str:
    """An id that says something: the title's letters and digits, and four random characters."""
    stem = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60] or "work-order"
    return f"{stem}-{secrets.token_hex(2)}"


def register(
    *, title: str, by: str, wo_id: str = "", max_concurrent_runs: int = DEFAULT_CONCURRENT_RUNS
) -> WorkOrder:
    """A new work order. Its caps are the defaults: more is a cap change.

    More runs at the same time than the default are a raise too, so not to be had here.
    Raises AlreadyExists, ReservedId, and NotAllowedNow for too many concurrent runs.
    """
    if wo_id in RESERVED_IDS:
        raise ReservedId(f"{wo_id} is a word of the API's addresses: choose another id")
    if max_concurrent_runs > DEFAULT_CONCURRENT_RUNS:
        raise NotAllowedNow(
            f"a work order begins with {DEFAULT_CONCURRENT_RUNS} concurrent runs at most"
        )
    try:
        with transaction.atomic():
            work_order = WorkOrder.objects.create(
                id=wo_id or make_id(title), title=title, max_concurrent_runs=max_concurrent_runs
            )
            events.record(
                "WORK_ORDER_CREATED",
                message=f"Work order {title} registered",
                owner=("work_order", work_order.id),
                label=title,
                actor=by,
                meta={"woId": work_order.id, "maxConcurrentRuns": max_concurrent_runs},
            )
    except IntegrityError as error:
        raise AlreadyExists(f"there is a work order {wo_id} already") from error
    work_order.refresh_from_db()
    return work_order


def suspend(wo_id: str, *, by: str, reason: str) -> None:
    """Refuse every further start and extension, from the next one on. Raises NotAllowedNow."""
    _set_status(wo_id, "draft", "suspended", kind="WORK_ORDER_SUSPENDED", by=by, reason=reason)


def resume(wo_id: str, *, by: str, reason: str) -> None:
    """Let a suspended work order work again. Raises NotAllowedNow."""
    _set_status(wo_id, "suspended", "draft", kind="WORK_ORDER_RESUMED", by=by, reason=reason)


def _set_status(wo_id: str, old: str, new: str, *, kind: str, by: str, reason: str) -> None:
    if not reason.strip():
        raise NotAllowedNow("a reason is required")
    with transaction.atomic():
        # The event comes first: the trigger on the status asks for it.
        work_order = WorkOrder.objects.select_for_update(no_key=True).get(pk=wo_id)
        if work_order.status != old:
            raise NotAllowedNow(f"the work order is {work_order.status}")
        events.record(
            kind,
            message=f"{work_order.title}: {old} → {new}, {reason}",
            owner=("work_order", wo_id),
            label=work_order.title,
            actor=by,
            meta={"woId": wo_id, "old": old, "new": new, "reason": reason},
        )
        WorkOrder.objects.filter(pk=wo_id).update(status=new)


def change_settings(wo_id: str, *, title: str, refuse_unknown_agents: bool, by: str) -> bool:
    """Change what is neither a limit nor the status. False when nothing would change.

    Only these columns are written: the caps have a workflow of their own.
    """
    with transaction.atomic():
        work_order = WorkOrder.objects.select_for_update(no_key=True).get(pk=wo_id)
        if work_order.status == WorkOrder.Status.ARCHIVED:
            raise NotAllowedNow("the work order is archived")
        wanted = {"title": title, "refuse_unknown_agents": refuse_unknown_agents}
        changes = events.changed({name: getattr(work_order, name) for name in wanted}, wanted)
        if not changes:
            return False
        events.record(
            "WORK_ORDER_CHANGED",
            message=f"{title}: {', '.join(sorted(changes))} changed",
            owner=("work_order", wo_id),
            label=title,
            actor=by,
            meta={"woId": wo_id, "changes": changes},
        )
        WorkOrder.objects.filter(pk=wo_id).update(**wanted)
    return True
