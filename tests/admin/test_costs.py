"""The pages of reported calls, and of which of their two costs counts."""

from datetime import timedelta
from decimal import Decimal

from django.urls import reverse
from django.utils import timezone

from opslog.models import CostPreference, InferenceEvent, OperationsEvent
from opslog.price_book import prices
from opslog.telemetry import rollup
from opslog.telemetry.accepting import accept_inference
from opslog.telemetry.drafts import InferenceDraft
from tests import factories
from tests.admin.pages import log_in, page
from tests.admin.scene import Scene


def test_which_cost_of_a_call_counts(scene: Scene) -> None:
    """The page says it, counts what differs, and leads to the rows; administrators change it."""
    factories.make_price(input="1", output="1")
    prices.forget_book()
    drafts = [
        InferenceDraft(
            model="gpt-4o-mini",
            event_id=f"cost-{number}",
            input_tokens=1_000_000,
            output_tokens=0,
            sender_cost_usd=Decimal(cost),
        )
        for number, cost in enumerate(("1", "0.5", "2"))
    ]
    accept_inference(drafts, source="otlp", now=timezone.now() - timedelta(hours=1))
    rollup.refresh()
    url = reverse("admin:opslog_costpreference_change", args=[1])
    reader, client = log_in(scene, "auditor"), log_in(scene, "administrator")
    text = reader.get(url).content.decode()
    assert "The cost computed by the price book, where it has a price" in text
    assert "Change…" not in text
    assert "2 calls" in text
    rows = reverse("admin:opslog_inferenceevent_changelist")
    assert f"{rows}?cost=differs&amp;model=gpt-4o-mini" in text
    listed = reader.get(rows, {"cost": "differs", "model": "gpt-4o-mini"}).content.decode()
    assert "$0.50" in listed
    assert "$2.00" in listed
    call = InferenceEvent.objects.get(event_id="cost-1")
    shown = page(reader, "opslog_inferenceevent_change", str(call.pk))
    assert "50.0 %" in shown
    data = {"wins": "sender", "reason": "the gateway knows our contract"}
    prefer = reverse("admin:opslog_costpreference_prefer", args=[1])
    assert reader.post(prefer, data).status_code == 403
    assert client.post(prefer, {**data, "reason": ""}).status_code == 200
    assert CostPreference.objects.get().wins == "computed"
    assert client.post(prefer, data).status_code == 302
    assert "The sender&#x27;s cost, where it is given" in reader.get(url).content.decode()
    event = OperationsEvent.objects.get(kind="COST_PREFERENCE_CHANGE")
    assert event.actor == "administrator"
