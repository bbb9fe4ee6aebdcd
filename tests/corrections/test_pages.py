"""The two buttons beside an alert, and the pages behind them."""

from decimal import Decimal

import pytest
from django.urls import reverse

from budgets.models import Alert, CostCorrection, Counter
from tests import factories
from tests.admin.pages import log_in
from tests.admin.scene import Scene, make_scene
from workorders.models import Run


@pytest.fixture
def scene(committed_db: str) -> Scene:
    return make_scene()


@pytest.fixture
def run(scene: Scene) -> Run:
    Run.objects.using("owner").filter(pk=scene.run.pk).update(
        status="success", cost="42.00", finished_at="2026-01-01T00:00:00Z", token=scene.token
    )
    CostCorrection.objects.all().delete()
    Counter.objects.update(settled_usd=10_000)  # the scene's runs were charged to none
    scene.run.refresh_from_db()
    return scene.run


@pytest.mark.parametrize(("role", "buttons"), [("operations", 2), ("director", 1), ("auditor", 0)])
def test_an_alert_has_its_buttons(scene: Scene, run: Run, role: str, buttons: int) -> None:
    alert = Alert.objects.create(
        kind="cost_surprise", key="k", message="m", owner_type="run", owner_id=str(run.pk),
        meta={"severity": "critical", "tokenId": scene.token.pk},
    )  # fmt: skip
    page = log_in(scene, role).get(reverse("admin:budgets_alert_change", args=[alert.pk]))
    text = page.content.decode()
    revoke = reverse("admin:workorders_servicetoken_revoke", args=[scene.token.pk])
    correct = f"{reverse('admin:budgets_costcorrection_add')}?run={run.pk}"
    assert (revoke in text) + (correct in text) == buttons


def test_corrected_from_the_page_of_the_run(scene: Scene, run: Run) -> None:
    client = log_in(scene, "operations")
    page = client.get(reverse("admin:workorders_run_change", args=[run.pk])).content.decode()
    address = f"{reverse('admin:budgets_costcorrection_add')}?run={run.pk}"
    assert address in page
    assert "Recorded cost: $42.00" in client.get(address).content.decode()
    data = {"seen": "42.00", "cost": "41.00", "reason": "a slip"}
    assert client.post(address, data).status_code == 302
    assert Run.objects.get(pk=run.pk).cost == 41
    again = client.post(address, data)
    assert "another one by now" in again.content.decode()


def test_confirmed_by_somebody_else(scene: Scene, run: Run) -> None:
    Run.objects.using("owner").filter(pk=run.pk).update(cost="4200.00")
    address = f"{reverse('admin:budgets_costcorrection_add')}?run={run.pk}"
    asker = log_in(scene, "operations")
    asker.post(address, {"seen": "4200.00", "cost": "0.42", "reason": "a slip"})
    made = CostCorrection.objects.get()
    confirm = reverse("admin:budgets_costcorrection_confirm", args=[made.pk])
    own = asker.post(confirm, {"note": "me"})
    assert "second person" in own.content.decode()
    scene.people["second"] = factories.make_user("second", ["operations"], is_staff=True)
    second = log_in(scene, "second")
    shown = second.get(reverse("admin:budgets_costcorrection_change", args=[made.pk]))
    assert "confirm/" in shown.content.decode()
    assert second.post(confirm, {"note": "seen the bill"}).status_code == 302
    assert Run.objects.get(pk=run.pk).cost == Decimal("0.42")
