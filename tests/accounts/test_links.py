"""One-time links: the only way to a password but knowing it."""

import io
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail as sent_mail
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from budgets import accounts
from budgets.accounts import links
from budgets.exceptions import Refused
from budgets.models import AccountChange, AccountLink
from opslog import outbox
from opslog.models import OperationsEvent, OutboxMessage, Severity
from opslog.outbox import delivery
from opslog.outbox.notices import Notice
from tests import factories
from tests.access.walking import logged_in
from tests.accounts.house import House, people

NEW = "a-new-long-password"
BOTH = {"new_password1": NEW, "new_password2": NEW}


def everything_written() -> str:
    """All rows but those of sessions, which a browser's own token may be in."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if table != "django_session":
                cursor.execute(
                    f"SELECT coalesce(string_agg(t::text, E'\\n'), '') FROM \"{table}\" t"
                )
                found.append(cursor.fetchone()[0])
    return "\n".join(found)


def path_of(person: User) -> str:
    link = AccountLink.objects.select_related("person").get(
        person=person, used_at=None, replaced_at=None
    )
    return links.path_of(link)


def issued(person: User, *, mailed: bool = False) -> str:
    with transaction.atomic():
        links.issue(person, by="ann", mailed=mailed)
    return path_of(person)


def follow(path: str, client: Client | None = None) -> tuple[Client, str, Any]:
    """The client, the address that the link leads to, and the page there."""
    client = client or Client()
    answer = client.get(path)
    if answer.status_code == 302:
        return client, answer["Location"], client.get(answer["Location"])
    return client, path, answer


def test_a_new_person_gets_in(house: House) -> None:
    form = {"username": "new", "email": "new@example.com"}
    answer = logged_in(house["ann"]).post(reverse("admin:auth_user_add"), form, follow=True)
    assert "on its way to new@example.com" in answer.content.decode()
    new = User.objects.get(username="new")
    path = path_of(new)
    client, address, page = follow(path)
    assert path.split("/")[-2] not in address
    assert "no-store" in page["Cache-Control"]
    assert "Set your password" in page.content.decode()
    assert client.post(address, BOTH).status_code == 302
    new.refresh_from_db()
    assert new.check_password(NEW)
    event = OperationsEvent.objects.get(kind="ACCOUNT_LINK_USED")
    assert (event.actor, event.meta["issuedBy"], event.owner_id) == ("new", "ann", str(new.pk))


def test_each_step_is_an_event_and_is_told(house: House) -> None:
    ops = factories.make_user("reader", ["auditor"], is_staff=True, email="reader@example.com")
    accounts.ask_for_link(ops.pk, by=house["ann"])
    event = OperationsEvent.objects.get(kind="ACCOUNT_LINK_ISSUED")
    assert (event.actor, event.owner_id) == ("ann", str(ops.pk))
    assert (event.meta["how"], event.meta["sentTo"]) == ("mail", "reader@example.com")
    client, address, _ = follow(path_of(ops))
    client.post(address, BOTH)

    def who(subject: str) -> set[str]:
        found = OutboxMessage.objects.filter(subject__startswith=subject)
        return set(found.values_list("recipient_label", flat=True))

    assert who("Password link for reader issued") == {"ann", "bob", "root"}
    assert who("Set your password for Tollgate") == {"reader"}
    assert who("reader set a password") == {"ann", "bob", "reader", "root"}


def test_the_link_is_in_no_row_and_reaches_its_person_alone(committed_db: str) -> None:
    house = people()
    reader = factories.make_user("reader", ["auditor"], is_staff=True, email="reader@example.com")
    accounts.ask_for_link(reader.pk, by=house["ann"])
    delivery.deliver_due()
    data = {
        message.to[0]: str(message.body)
        for message in sent_mail.outbox
        if "/account-link/" in message.body
    }
    assert list(data) == ["reader@example.com"]
    (body,) = data.values()
    found = re.search(r"/admin/account-link/\S+", str(body))
    assert found is not None
    assert follow(found[0])[2].status_code == 200
    token = found[0].split("/")[-2]
    assert token not in everything_written()
    message = OutboxMessage.objects.get(topic="account_link")
    assert message.state == "sent"
    page = logged_in(house["root"]).get(
        reverse("admin:opslog_outboxmessage_change", args=[message.pk])
    )
    assert "/account-link/" not in page.content.decode()


def test_a_link_is_not_sent_to_an_address_it_was_not_issued_for(
    committed_db: str,
) -> None:
    people()
    reader = factories.make_user("reader", ["auditor"], is_staff=True, email="reader@example.com")
    path = issued(reader, mailed=True)
    User.objects.filter(pk=reader.pk).update(email="thief@example.com")
    delivery.deliver_due()
    message = OutboxMessage.objects.get(topic="account_link")
    assert (message.state, "no longer works" in message.error) == ("skipped", True)
    assert not [each for each in sent_mail.outbox if "/account-link/" in each.body]
    assert "does not work" in follow(path)[2].content.decode()


def by_use(person: User, path: str) -> None:
    client, address, _ = follow(path)
    client.post(address, BOTH)


def by_time(person: User, path: str) -> None:
    AccountLink.objects.update(expires_at=timezone.now())


def by_another(person: User, path: str) -> None:
    issued(person)


def by_log_in(person: User, path: str) -> None:
    User.objects.filter(pk=person.pk).update(last_login=timezone.now())


def by_password(person: User, path: str) -> None:
    person.set_password("set-by-themself-12")
    person.save()


def by_address(person: User, path: str) -> None:
    User.objects.filter(pk=person.pk).update(email="other@example.com")


def by_switching_off(person: User, path: str) -> None:
    User.objects.filter(pk=person.pk).update(is_active=False)


@pytest.mark.parametrize(
    "void",
    [by_use, by_time, by_another, by_log_in, by_password, by_address, by_switching_off],
)
def test_what_makes_a_link_void(house: House, void: Callable[[User, str], None]) -> None:
    """Before it is followed, and between the page and the form."""
    ops = house["ops"]
    path = issued(ops)
    client, address, page = follow(path)
    assert "Set your password" in page.content.decode()
    void(ops, path)
    before = User.objects.get(pk=ops.pk).password
    answer = client.post(
        address, {"new_password1": "another-long-one", "new_password2": "another-long-one"}
    )
    assert answer.status_code in (200, 302)
    assert "does not work" in follow(path)[2].content.decode()
    assert User.objects.get(pk=ops.pk).password == before


@pytest.mark.parametrize("wrong", ["other link", "other person", "no link", "no number", "huge"])
def test_a_token_is_of_one_link(house: House, wrong: str) -> None:
    mine, other = issued(house["ops"]), issued(house["vp"])
    _, _, _, pk, token, _ = mine.split("/")
    _, _, _, other_pk, other_token, _ = other.split("/")
    path = {
        "other link": f"/admin/account-link/{pk}/{other_token}/",
        "other person": f"/admin/account-link/{other_pk}/{token}/",
        "no link": f"/admin/account-link/OTk5OTk/{token}/",
        "no number": f"/admin/account-link/eA/{token}/",
        "huge": f"/admin/account-link/{'OTk5' * 20}/{token}/",
    }[wrong]
    assert "does not work" in follow(path)[2].content.decode()


def test_weak_passwords_are_refused(house: House) -> None:
    client, address, _ = follow(issued(house["ops"]))
    for weak in ("short", "password123", "ops@example.com"):
        page = client.post(address, {"new_password1": weak, "new_password2": weak})
        assert page.status_code == 200
    assert not OperationsEvent.objects.filter(kind="ACCOUNT_LINK_USED").exists()
    assert client.post(address, BOTH).status_code == 302


def test_whoever_was_logged_in_there_is_nobody_afterwards(house: House) -> None:
    client, address, _ = follow(issued(house["ops"]), logged_in(house["ann"]))
    client.post(address, BOTH)
    assert "login" in client.get(reverse("admin:index"))["Location"]


def test_the_link_of_somebody_who_decides_needs_a_second_administrator(
    house: House,
) -> None:
    for name in ("finance", "bob"):
        AccountChange.objects.all().delete()
        outcome = accounts.ask_for_link(house[name].pk, by=house["ann"])
        assert outcome.waiting is not None
        assert not AccountLink.objects.filter(person=house[name]).exists()
        with pytest.raises(Refused):
            accounts.confirm(outcome.waiting.pk, by=house["ann"])
    assert outcome.waiting is not None
    with pytest.raises(Refused, match="about you"):
        accounts.confirm(outcome.waiting.pk, by=house["bob"])
    accounts.confirm(outcome.waiting.pk, by=house["root"])
    assert AccountLink.objects.get(person=house["bob"]).sent_to == "bob@example.com"


def test_nobody_sends_themself_a_link_or_takes_over_a_superuser(house: House) -> None:
    for who, whom in (("ann", "ann"), ("ann", "root"), ("ops", "vp")):
        with pytest.raises(Refused):
            accounts.ask_for_link(house[whom].pk, by=house[who])


@override_settings(EMAIL_BACKEND=delivery.NO_MAIL)
def test_without_mail_the_page_says_what_to_do(house: House) -> None:
    reader = factories.make_user("reader", ["auditor"], is_staff=True, email="reader@example.com")
    client = logged_in(house["ann"])
    url = reverse("admin:auth_user_link", args=[reader.pk])
    assert "manage.py account_link" in client.post(url, {"sure": "yes"}).content.decode()
    answer = client.post(reverse("admin:auth_user_add"), {"username": "new"}, follow=True)
    assert "manage.py account_link new" in answer.content.decode()
    assert not AccountLink.objects.exists()


def test_the_command_prints_a_link_and_the_log_says_so(house: House) -> None:
    printed = io.StringIO()
    call_command("account_link", "finance", stdout=printed, stderr=io.StringIO())
    found = re.fullmatch(r"http://[^/]+(/admin/account-link/\S+)\n", printed.getvalue())
    assert found is not None
    event = OperationsEvent.objects.get(kind="ACCOUNT_LINK_ISSUED")
    assert (event.meta["how"], event.actor.endswith("(command line)")) == ("command", True)
    messages = OutboxMessage.objects.filter(subject="Password link for finance issued")
    assert set(messages.values_list("recipient_label", flat=True)) == {
        "ann",
        "bob",
        "finance",
        "root",
    }
    client, address, _ = follow(found[1])
    client.post(address, BOTH)
    assert User.objects.get(username="finance").check_password(NEW)
    with pytest.raises(CommandError, match="no user"):
        call_command("account_link", "nobody-at-all")
    User.objects.filter(username="vp").update(is_active=False)
    with pytest.raises(CommandError, match="deactivated"):
        call_command("account_link", "vp")


def test_commands_of_passwords_leave_events(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getpass", lambda *args, **kwargs: NEW)
    with redirect_stdout(io.StringIO()):
        call_command("changepassword", "ops")
    assert User.objects.get(username="ops").check_password(NEW)
    event = OperationsEvent.objects.get(kind="PASSWORD_CHANGED")
    assert event.owner_id == str(house["ops"].pk)
    assert event.actor.endswith("(command line)")
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", NEW)
    call_command("createsuperuser", "--noinput", "--username", "ruth", "--email", "r@example.com")
    event = OperationsEvent.objects.filter(kind="USER_CREATED").latest("id")
    assert (event.label if hasattr(event, "label") else event.owner_label) == "ruth"
    assert event.actor.endswith("(command line)")
    with pytest.raises(CommandError, match="looks like, the name of ruth"):
        call_command(
            "createsuperuser", "--noinput", "--username", "RUTH", "--email", "r@example.com"
        )


def test_ones_own_change_is_an_event(house: House) -> None:
    ops = house["ops"]
    ops.set_password("the-old-password-1")
    ops.save()
    before = OperationsEvent.objects.filter(kind="PASSWORD_CHANGED").count()
    client = logged_in(ops)
    data = {"oldpassword": "the-old-password-1", "password1": NEW, "password2": NEW}
    client.post(reverse("account_change_password"), data)
    assert User.objects.get(pk=ops.pk).check_password(NEW)
    found = OperationsEvent.objects.filter(kind="PASSWORD_CHANGED")
    assert found.count() == before + 1
    assert found.latest("id").actor == "ops"


def test_the_waiting_time_is_a_row_and_a_command(house: House) -> None:
    printed = io.StringIO()
    call_command("waiting_time", stdout=printed)
    assert printed.getvalue() == "24 hours.\n"
    with pytest.raises(CommandError):
        call_command("waiting_time", "1")
    call_command("waiting_time", "48", "--reason", "a long weekend", stdout=printed)
    event = OperationsEvent.objects.get(kind="WAITING_TIME_CHANGED")
    assert event.meta["changes"] == {"hours": {"old": 24, "new": 48}}
    from budgets.accounts.membership import waiting_time

    assert waiting_time() == timedelta(hours=48)


def test_the_messages_of_a_former_address_are_mailed_there(committed_db: str) -> None:
    with transaction.atomic():
        notice = Notice("s", "a → b", "anna", Severity.INFO, "Nothing.")
        outbox.send(topic="x", to=["old@example.com"], notice=notice, link="/admin/", key="1")
    delivery.deliver_due()
    assert [message.to for message in sent_mail.outbox] == [["old@example.com"]]
