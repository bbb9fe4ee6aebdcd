"""A process that is silent is reported, once; and so is that it works again."""

from datetime import timedelta

import pytest
from django.utils import timezone

from opslog import liveness, tasks
from opslog.models import Heartbeat, OperationsEvent, OutboxMessage
from tests.factories import make_user

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("name", liveness.SILENT_AFTER)
def test_silence_is_reported_once_and_its_end(name: str) -> None:
    make_user("op", groups=["operations"])
    now = timezone.now()
    limit = liveness.SILENT_AFTER[name]
    Heartbeat.objects.create(name=name, at=now - limit)
    assert liveness.watch([name], now=now) == 0  # just in time
    late = now + timedelta(seconds=1)
    assert (liveness.watch([name], now=late), liveness.watch([name], now=late)) == (1, 0)
    Heartbeat.objects.filter(name=name).update(at=late)
    assert (liveness.watch([name], now=late), liveness.watch([name], now=late)) == (1, 0)
    subjects = list(OutboxMessage.objects.order_by("id").values_list("subject", "severity"))
    assert subjects == [
        (f"{liveness.NAMES[name]} is silent", "critical"),
        (f"{liveness.NAMES[name]} works again", "info"),
    ]
    kinds = OperationsEvent.objects.filter(kind__startswith="PROCESS").order_by("id")
    assert [each.kind for each in kinds] == ["PROCESS_SILENT", "PROCESS_WORKS_AGAIN"]


def test_after_everything_was_stopped_each_has_time_to_come_back() -> None:
    now = timezone.now()
    Heartbeat.objects.create(name="worker", at=now - timedelta(days=1))
    assert liveness.watch(["worker"], now=now, since=now - timedelta(minutes=2)) == 0
    assert liveness.watch(["worker"], now=now, since=now - timedelta(minutes=4)) == 1


def test_a_process_that_never_ran_is_not_missed() -> None:
    assert liveness.watch(liveness.SEEN_BY_DELIVERY, now=timezone.now()) == 0


def test_a_delivery_that_was_never_started_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    ago = timezone.now() - timedelta(minutes=6)
    monkeypatch.setattr(liveness, "STARTED", ago)
    assert tasks.watch_processes() == 0
    Heartbeat.objects.filter(name=liveness.DELIVERY).update(at=ago)
    assert tasks.watch_processes() == 1
    assert OperationsEvent.objects.filter(kind="PROCESS_SILENT").count() == 1
