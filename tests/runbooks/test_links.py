"""Every link of every runbook and hotspot opens for every role: who may not do an act learns who
does it, and is not sent to a refusal."""

import re
from html import unescape
from urllib.parse import urljoin

import pytest
from django.test import Client
from django.urls import reverse

from budgets.controls import features
from budgets.models import Contact, Hotspot
from config.pages.runbooks import RUNBOOKS
from tests import factories
from tests.admin.scene import ROLES, Scene, make_scene
from tests.runbooks.pages import started

LINK = re.compile(r'<a [^>]*href="([^"]+)"')


@pytest.fixture
def scene(db: None) -> Scene:
    found = make_scene()
    features.change("chat", {}, reason="x", by="ops")
    Hotspot.objects.filter(feature="*").update(feature="chat")
    started("svc", "agent-1", "192.0.2.1")
    return found


def client_of(scene: Scene, role: str) -> Client:
    client = Client()
    client.force_login(scene.people[role], backend="django.contrib.auth.backends.ModelBackend")
    return client


def pages() -> list[str]:
    slugs = [reverse("runbook", args=[slug]) for slug in RUNBOOKS]
    entries = [
        reverse("admin:budgets_hotspot_change", args=[pk])
        for pk in Hotspot.objects.values_list("pk", flat=True)
    ]
    return [reverse("runbooks"), *slugs, *(f"{each}?work_order=w1" for each in slugs), *entries]


def inner(client: Client, url: str) -> str:
    text = client.get(url).content.decode()
    return text[text.index('id="content-main"') :]


@pytest.mark.parametrize("role", ROLES)
def test_every_link_opens(scene: Scene, role: str) -> None:
    client = client_of(scene, role)
    wrong, seen = {}, dict[str, int]()
    for page in pages():
        for link in map(unescape, LINK.findall(inner(client, page))):
            url = urljoin(page, link)
            if url not in seen:
                seen[url] = client.get(url).status_code
            if seen[url] not in (200, 302):
                wrong[page, url] = seen[url]
    assert wrong == {}
    assert len(seen) > 25


def test_who_may_not_is_told_who_does(scene: Scene) -> None:
    auditor, director = client_of(scene, "auditor"), client_of(scene, "director")
    breach = reverse("runbook", args=["budget-breach"])
    text = inner(auditor, breach)
    assert 'stop everything <span class="tg-muted">(by director or vp)</span>' in text
    assert "(by " not in inner(director, breach)
    entry = reverse("admin:budgets_hotspot_change", args=[Hotspot.objects.get(feature="chat").pk])
    text = inner(client_of(scene, "finance"), entry)
    assert "Fewer rounds of tools" in text
    assert "(by administrator or director or operations)" in text


def test_a_work_order_is_picked(scene: Scene) -> None:
    client = client_of(scene, "auditor")
    for slug in ("runs-429", "usd-429", "suspicious"):
        url = reverse("runbook", args=[slug])
        assert '<option value="w1">' in inner(client, url)
        assert "There is no work order" not in inner(client, url + "?work_order=w1")
        assert "no work order with the id “none”" in inner(client, url + "?work_order=none")


def test_contacts_stand_under_their_topics(scene: Scene) -> None:
    text = inner(client_of(scene, "auditor"), reverse("runbook", args=["contacts"]))
    topics = set(Contact.objects.values_list("topic", flat=True))
    assert text.count("<h2>") == len(topics)
    assert text.count("<h2>Caps and refusals</h2>") == 1


def test_a_suspended_work_order_is_resumed_from_the_runbook(scene: Scene) -> None:
    factories.make_work_order("w2", status="suspended")
    url = reverse("runbook", args=["suspicious"]) + "?work_order=w2"
    resume = reverse("admin:workorders_workorder_resume", args=["w2"])
    assert resume in inner(client_of(scene, "operations"), url)
    assert resume not in inner(client_of(scene, "finance"), url)
