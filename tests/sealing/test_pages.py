"""The list of seals, the page of one, and the seal on the page of an event."""

import re

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from tests import factories
from tests.sealing.scene import Sealed, log_ids


@pytest.fixture
def reader(sealed: Sealed) -> Client:
    client = Client()
    person = factories.make_user("root", is_staff=True, is_superuser=True)
    client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
    return client


def text(client: Client, name: str, *args: object) -> str:
    answer = client.get(reverse(name, args=args))
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_list_and_the_page(sealed: Sealed, reader: Client) -> None:
    sealed.seal(2, 3)
    listed = text(reader, "admin:opslog_seal_changelist")
    assert "It was not run yet." in listed
    page = text(reader, "admin:opslog_seal_change", 2)
    assert "Seal 2" in page
    assert "number 2" in page  # a message of one of its events
    assert reverse("admin:opslog_seal_change", args=[1]) in page
    call_command("verify_events")
    assert "nothing was altered" in text(reader, "admin:opslog_seal_changelist")
    assert "up to no. 2" in text(reader, "admin:opslog_seal_change", 2)


def test_a_long_seal_leads_to_the_events_that_its_page_does_not_show(
    sealed: Sealed, reader: Client
) -> None:
    sealed.seal(60)
    page = text(reader, "admin:opslog_seal_change", 1)
    # With those of the person who reads.
    (many,) = re.findall(r"The first 50 of (6\d)", page)
    (rest,) = re.findall(r'href="([^"]+)">what was written in its time', page)
    page = reader.get(rest.replace("&amp;", "&")).content.decode()
    rows = page.count("data-event=")
    older = reader.get(
        "/ops-logs?"
        + re.findall(r'href="/ops-logs\?([^"]+)" rel="next"', page)[0].replace("&amp;", "&")
    )
    assert rows + older.content.decode().count("data-event=") == int(many)


def test_an_event_tells_its_seal(sealed: Sealed, reader: Client) -> None:
    sealed.write(1)
    *_, event = log_ids()
    assert "not yet sealed" in text(reader, "ops-logs-event", event)
    sealed.seal()
    page = text(reader, "ops-logs-event", event)
    assert "sealed in no. 1" in page
    assert reverse("admin:opslog_seal_change", args=[1]) in page
