"""The runbooks: their figures are those of the rows, their links lead somewhere."""

import re
from decimal import Decimal

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from budgets.controls import features, kill_switch
from budgets.evidence import risk
from budgets.models import Contact, DimensionBudget
from budgets.usage import callers, spike_signs
from config.pages.runbooks import RUNBOOKS
from opslog.triage import thresholds
from tests import factories
from tests.admin.scene import HOSTILE, make_run, make_scene, use
from tests.runbooks.pages import page, started

LINK = re.compile(r'href="([^"]+)"')


@pytest.mark.parametrize("slug", list(RUNBOOKS))
def test_every_link_of_a_runbook_leads_somewhere(client: Client, slug: str) -> None:
    work_order = factories.make_work_order()
    use(work_order, runs=100, settled="1.00")
    features.change("chat", {}, reason="x", by="ops")
    DimensionBudget.objects.filter(dimension="compute").update(monthly_usd=10)
    started("svc", "agent-1", "192.0.2.1")
    text = page(client, slug, "?work_order=w1")
    start = text.index('id="content-main"')
    inner = text[start:]
    followed = 0
    for link in {each for each in LINK.findall(inner) if each.startswith(("/admin/", "?"))}:
        url = reverse("runbook", args=[slug]) + link if link.startswith("?") else link
        status = client.get(url).status_code
        assert status == 200, (link, status)
        followed += 1
    assert followed >= 2


@pytest.mark.parametrize("slug", list(RUNBOOKS))
def test_an_empty_installation_has_runbooks_too(client: Client, slug: str) -> None:
    assert RUNBOOKS[slug].title in page(client, slug)
    assert RUNBOOKS[slug].title in page(client, slug, "?work_order=none")


def test_the_list_has_all_of_them(client: Client) -> None:
    text = client.get(reverse("runbooks")).content.decode()
    for each in RUNBOOKS.values():
        assert reverse("runbook", args=[each.slug]) in text
    assert client.get(reverse("runbook", args=["none"])).status_code == 404


@pytest.mark.parametrize("name", ["runbooks", "runbook"])
def test_they_are_for_who_may_read(db: None, name: str) -> None:
    url = reverse(name, args=["caps"] if name == "runbook" else [])
    assert Client().get(url).status_code == 302
    stranger = Client()
    stranger.force_login(
        factories.make_user("x", is_staff=True), backend="django.contrib.auth.backends.ModelBackend"
    )
    assert stranger.get(url).status_code == 403


def test_a_refusal_with_its_figures(client: Client) -> None:
    work_order = factories.make_work_order(title="Digest")
    use(work_order, runs=100, settled="0.40")
    make_run(work_order, agent="loop", agent_known=False)
    text = page(client, "runs-429", "?work_order=w1")
    assert "100 of 100 runs" in strip_tags(text)
    assert "of $2.00" not in text
    assert f"more than {risk.BURST_RUNS} runs in an hour" in text
    assert "not registered" in text
    assert f"in {settings.TOLLGATE_RETRY_AFTER} seconds" in text
    assert "runs/day cap reached" in text
    factories.set_caps(work_order, 300, "2.00")
    assert "100 of 300 runs" in strip_tags(page(client, "runs-429", "?work_order=w1"))


def test_the_rules_are_those_in_force(client: Client) -> None:
    from budgets.models import ApprovalRule

    assert "USD/day up to $50.00" in page(client, "usd-429")
    assert "runs/day" not in page(client, "usd-429").partition("Who must agree")[2]
    assert "runs/day up to 999" in page(client, "runs-429")
    ApprovalRule.objects.filter(measure="usd_per_day", minimum=10).update(maximum=40)
    assert "USD/day up to $40.00" in page(client, "usd-429")


def test_each_cap_has_its_own_list(client: Client) -> None:
    use(factories.make_work_order("w-runs", title="Many runs"), runs=100, settled="0.10")
    use(factories.make_work_order("w-usd", title="Dear runs"), runs=3, settled="2.00")
    use(factories.make_work_order("w-both", title="All of it"), runs=100, settled="2.00")
    runs, usd = page(client, "runs-429"), page(client, "usd-429")
    for link, there in (
        ("w-runs", (True, False)),
        ("w-usd", (False, True)),
        ("w-both", (True,) * 2),
    ):
        assert (f'"?work_order={link}"' in runs, f'"?work_order={link}"' in usd) == there


def test_figures_are_those_that_the_flags_go_by(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(risk, "BURST_RUNS", 77)
    monkeypatch.setattr(risk, "EXPENSIVE_AVERAGE_USD", Decimal("0.30"))
    monkeypatch.setattr(risk, "EXPENSIVE_RUN_USD", Decimal(4))
    monkeypatch.setattr(thresholds, "RISE", 1.35)
    assert "more than 77 runs" in page(client, "runs-429")
    assert "average above $0.30, at one run above $4.00" in strip_tags(page(client, "usd-429"))
    assert "More than 35 % above" in page(client, "cost-spike")


def test_who_started_what_from_which_address(client: Client) -> None:
    for _ in range(3):
        started("svc", "agent-1", "192.0.2.1")
    started("svc", "agent-1", "198.51.100.9", "w2")
    started("other", HOSTILE, "192.0.2.1", "w2")
    found = {(each.actor, each.address): each for each in callers.recent()}
    assert found[("svc", "192.0.2.1")].times == 3
    assert len(found) == 3
    assert len(callers.recent("w2")) == 2
    text = page(client, "suspicious")
    for phrase in ("192.0.2.1", "198.51.100.9", "kill switch of an identity"):
        assert phrase in text
    assert HOSTILE not in text
    factories.make_work_order("w2", title="Second")
    assert "192.0.2.1" in page(client, "suspicious", "?work_order=w2")
    text = page(client, "suspicious", "?work_order=w2")
    assert reverse("admin:workorders_workorder_suspend", args=["w2"]) in text
    assert f"{timezone.now():%m-%d} " in text


@pytest.mark.parametrize(
    ("now", "before", "changes"),
    [
        (
            (12, 100, 100, 0, 0, 0),
            (10, 100, 100, 0, 0, 0),
            {"Cost": "0.2", "Cost of a request": "0.2"},
        ),
        (
            (20, 200, 200, 0, 0, 0),
            (10, 100, 100, 0, 0, 0),
            {"Requests": "1", "Cost of a request": "0"},
        ),
        # $10 of 50 calls whose cost is known is $0.20 a call, as $20 of 100 was.
        ((10, 100, 50, 0, 0, 0), (20, 100, 100, 0, 0, 0), {"Cost of a request": "0"}),
        (
            (1, 10, 10, 5, 0, 0),
            (1, 10, 10, 1, 0, 0),
            {"Undo, retry and auto-save, of all requests": "4"},
        ),
        ((1, 10, 10, 0, 300, 10), (1, 10, 10, 0, 100, 10), {"Input tokens of a request": "2"}),
    ],
)
def test_signs_of_a_spike(now, before, changes: dict[str, str]) -> None:
    found = spike_signs.signs_of(tuple(map(Decimal, now)), tuple(map(Decimal, before)))
    data = {sign.name: sign.change for sign in found}
    for name, change in changes.items():
        assert data[name] == Decimal(change)


def test_nothing_before_is_no_change() -> None:
    zero = (Decimal(0),) * 6
    assert all(sign.change is None for sign in spike_signs.signs_of(zero, zero))


def test_the_cost_of_a_request_is_not_known_where_no_call_has_a_cost() -> None:
    unknown = tuple(map(Decimal, (0, 7, 0, 0, 0, 0)))
    (each,) = (
        sign for sign in spike_signs.signs_of(unknown, unknown) if sign.name == "Cost of a request"
    )
    assert (each.now, each.before, each.change) == (None, None, None)


def test_levers_have_their_values_of_now(client: Client) -> None:
    features.change("chat", {"max_rounds": 4, "enabled": False}, reason="less", by="ops")
    kill_switch.switch("Surface", "web", enabled=True, reason="fire", by="ops")
    for slug in ("cost-spike", "budget-breach"):
        text = page(client, slug)
        assert "off; 4 rounds" in text
    assert "web is stopped" in page(client, "budget-breach")
    assert "$50.00" in page(client, "budget-breach")


def test_new_people_learn_the_defaults(client: Client) -> None:
    text = page(client, "caps")
    assert "100 runs and $2.00, and 2 runs at the same time" in text


def test_contacts_are_the_rows_and_the_people_of_their_groups(client: Client) -> None:
    text = page(client, "contacts")
    assert "o@example.com" in text
    assert "nobody is in vp" in text
    Contact.objects.create(topic="provider", name=HOSTILE, reach="line 9")
    Contact.objects.filter(topic="abuse").update(active=False)
    text = page(client, "cost-spike")
    assert "line 9" in text
    assert HOSTILE not in text
    assert "Whom to call" not in page(client, "suspicious")
    Contact.objects.update(active=False)
    assert "Nobody is written down" in page(client, "contacts")


@pytest.mark.parametrize("slug", list(RUNBOOKS))
def test_the_number_of_queries_is_bounded(client: Client, slug: str) -> None:
    make_scene()
    url = reverse("runbook", args=[slug]) + "?work_order=w1"
    client.get(url)
    with CaptureQueriesContext(connection) as seen:
        client.get(url)
    assert len(seen) <= 30, "\n".join(query["sql"] for query in seen.captured_queries)
