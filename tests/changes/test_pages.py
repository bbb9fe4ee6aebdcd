"""Changes in the admin: reported under one's name, and kept."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from opslog.models import ChangeMarker, OperationsEvent
from opslog.telemetry import change_markers
from tests import factories
from tests.admin.scene import make_run, use


def log_in(*permissions: str, **columns: Any) -> Client:
    user = factories.make_user("ada", is_staff=True, **columns)
    for permission in permissions:
        user.user_permissions.add(Permission.objects.get(codename=permission))
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def form(**fields: str) -> dict[str, str]:
    now = timezone.now()
    return {
        "kind": "campaign",
        "what": "Newsletter",
        "feature": "",
        "happened_at_0": f"{now:%Y-%m-%d}",
        "happened_at_1": f"{now:%H:%M:%S}",
        **fields,
    }


@pytest.mark.django_db
def test_told_in_the_admin_with_its_event() -> None:
    client = log_in("add_changemarker", "view_changemarker")
    add = reverse("admin:opslog_changemarker_add")
    assert client.post(add, form()).status_code == 302
    marker = ChangeMarker.objects.get()
    assert (marker.kind, marker.recorded_by, marker.key) == ("campaign", "ada", None)
    assert OperationsEvent.objects.get(kind="CHANGE_RECORDED").actor == "ada"
    listed = client.get(reverse("admin:opslog_changemarker_changelist")).content.decode()
    assert "Newsletter" in listed


@pytest.mark.django_db
@pytest.mark.parametrize(
    "bad",
    [{"what": ""}, {"kind": "party"}, {"happened_at_0": "1999-01-01"}, {"feature": "x" * 101}],
)
def test_a_bad_form_records_nothing(bad: dict[str, str]) -> None:
    client = log_in("add_changemarker", "view_changemarker")
    answer = client.post(reverse("admin:opslog_changemarker_add"), form(**bad))
    assert answer.status_code == 200
    assert not ChangeMarker.objects.exists()


@pytest.mark.django_db
def test_nobody_edits_or_deletes_one() -> None:
    now = timezone.now()
    marker, _ = change_markers.record_change(kind="deploy", what="<b>x</b>", by="ops", now=now)
    client = log_in(is_superuser=True)
    page = reverse("admin:opslog_changemarker_change", args=[marker.pk])
    assert "&lt;b&gt;x&lt;/b&gt;" in client.get(page).content.decode()
    assert client.post(page, form()).status_code == 403
    delete = reverse("admin:opslog_changemarker_delete", args=[marker.pk])
    assert client.post(delete, {"post": "yes"}).status_code == 403
    marker.refresh_from_db()
    assert marker.what == "<b>x</b>"


@pytest.mark.django_db
def test_who_may_only_read_tells_nothing() -> None:
    client = log_in("view_changemarker")
    assert client.post(reverse("admin:opslog_changemarker_add"), form()).status_code == 403


@pytest.mark.django_db
def test_drawn_on_the_first_page_and_on_that_of_a_work_order() -> None:
    work_order = factories.make_work_order("w1")
    use(work_order, runs=1, settled="1.00")
    make_run(work_order)
    change_markers.record_change(kind="deploy", what="chat 2.0", by="ops", now=timezone.now())
    client = log_in(is_superuser=True)
    for page in (
        reverse("admin:index"),
        reverse("admin:workorders_workorder_change", args=["w1"]),
    ):
        assert "deploy: chat 2.0" in client.get(page).content.decode()
