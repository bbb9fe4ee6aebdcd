"""Rights are given by two people. Each test is an attack that went through, or a sibling of it."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import IntegrityError, connection, transaction
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from budgets import accounts, approvals
from budgets.accounts import membership
from budgets.exceptions import Conflict, Refused
from budgets.models import AccountChange, ApprovalRule, ApprovalSlot, Measure, Membership
from opslog.models import OperationsEvent, OutboxMessage
from tests import factories
from tests.access.walking import logged_in
from tests.accounts.house import House
from tests.trail import meta_of, trail

FORM = {"is_active": "on", "is_staff": "on"}


def groups_of(person: User) -> set[str]:
    return set(person.groups.values_list("name", flat=True))


def latest_event(kind: str) -> OperationsEvent:
    return OperationsEvent.objects.filter(kind=kind).latest("id")


def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a house that was installed a month ago."""
    ago = timezone.now() - timedelta(days=30)
    monkeypatch.setattr(membership, "installed_at", lambda: ago)


def add(client: Any, name: str, *groups: str) -> User:
    chosen = [Group.objects.get(name=group).pk for group in groups]
    client.post(reverse("admin:auth_user_add"), {"username": name, "groups": chosen})
    return User.objects.get(username=name)


def test_every_group_that_does_more_than_read_is_guarded(house: House) -> None:
    reads = Group.objects.create(name="readers")
    does = Group.objects.create(name="on-call")
    reads.permissions.add(Permission.objects.get(codename="view_budget"))
    does.permissions.add(*Permission.objects.filter(codename__in=("view_run", "add_agent")))
    shipped = {"operations", "director", "finance", "vp", "administrator"}
    assert accounts.guarded_groups() == {*shipped, "on-call"}
    ApprovalSlot.objects.create(rule=ApprovalRule.objects.earliest("pk"), group=reads)
    assert accounts.guarded_groups() == {*shipped, "on-call", "readers"}


def test_no_page_sets_the_password_of_somebody_else(house: House) -> None:
    """The form that did is gone; what a form sends on is not taken."""
    with pytest.raises(NoReverseMatch):
        reverse("admin:auth_user_password_change", args=[house["finance"].pk])
    before = dict(User.objects.values_list("pk", "password"))
    for who in ("ann", "root"):
        client = logged_in(house[who])
        for name in ("finance", "vp"):
            person = house[name]
            mine = {"password": "x", "password1": "known-to-me-12", "password2": "known-to-me-12"}
            assert client.post(f"/admin/auth/user/{person.pk}/password/", mine).status_code != 200
            url = reverse("admin:auth_user_change", args=[person.pk])
            client.post(url, {**FORM, **mine, "username": name, "email": person.email})
        client.post(reverse("admin:auth_user_add"), {**mine, "username": f"ghost-of-{who}"})
        assert not User.objects.get(username=f"ghost-of-{who}").has_usable_password()
    now = dict(User.objects.values_list("pk", "password"))
    assert {pk: now[pk] for pk in before} == before


def test_ghosts_get_no_rights_from_one_administrator(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ghosts with finance and vp: made, but in no group; proposed, announced and waiting."""
    later(monkeypatch)
    client = logged_in(house["ann"])
    ghosts = [add(client, "ghost-1", "finance"), add(client, "ghost-2", "vp", "administrator")]
    assert [groups_of(ghost) for ghost in ghosts] == [set(), set()]
    change = AccountChange.objects.get(person=ghosts[0])
    assert (change.status, change.wanted) == ("pending", {"groups": ["finance"]})
    for who in ("ann", "ghost-1", "ops"):  # the proposer, the person, somebody else
        with pytest.raises(Refused):
            accounts.confirm(change.pk, by=User.objects.get(username=who))
    with pytest.raises(Refused, match="bob, root"):
        accounts.confirm_by_command(change.pk, by="x (command line)")
    message = OutboxMessage.objects.filter(subject="Add ghost-1 to finance: proposed")
    assert set(message.values_list("recipient_label", flat=True)) == {
        *("ann", "bob", "root", "ghost-1"),
    }
    accounts.confirm(change.pk, by=house["bob"])
    assert groups_of(ghosts[0]) == {"finance"}
    event = latest_event("USER_CHANGED")
    assert event.meta["changes"] == {"groups": {"old": [], "new": ["finance"]}}
    assert (event.actor, event.meta["proposedBy"]) == ("bob", "ann")
    with pytest.raises(Conflict):
        accounts.confirm(change.pk, by=house["root"])


def test_votes_wait_after_a_membership(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    later(monkeypatch)
    factories.make_work_order("w1")
    request = approvals.ask(
        "w1",
        new={Measure.USD_PER_DAY: Decimal("5.00")},
        justification="x",
        expected_cost_impact="$1 a day",
        by=house["ops2"],
    )
    new = factories.make_user("new", is_staff=True)
    waiting = accounts.change(new.pk, by=house["ann"], values={}, groups={"operations"}).waiting
    assert waiting is not None
    accounts.confirm(waiting.pk, by=house["bob"])
    new = User.objects.get(pk=new.pk)
    counts = Membership.objects.get(person=new).counts_from
    assert counts - timezone.now() > timedelta(hours=23, minutes=59)
    assert "operations" not in accounts.counting_groups(new)
    assert approvals.may_decide(request, new).startswith("Your approvals count from ")
    page = logged_in(new).get(reverse("admin:budgets_changerequest_change", args=[request.pk]))
    assert f"Your approvals count from {counts:%Y-%m-%d %H:%M} UTC." in page.content.decode()
    assert approvals.waiting_for(new) == []
    assert not approvals.holds(new, "break_glass")
    with pytest.raises(Refused, match="count from"):
        approvals.decide(request.pk, by=new, decision="approve", comment="x", seen_revision=1)
    Membership.objects.filter(person=new).update(counts_from=timezone.now())
    new = User.objects.get(pk=new.pk)
    assert approvals.holds(new, "break_glass")
    done = approvals.decide(request.pk, by=new, decision="approve", comment="x", seen_revision=1)
    assert done.status == "applied"


def test_on_the_first_day_of_a_house_people_count_at_once(house: House) -> None:
    """The database of this test was migrated a moment ago."""
    new = factories.make_user("new", is_staff=True)
    waiting = accounts.change(new.pk, by=house["ann"], values={}, groups={"vp"}).waiting
    assert waiting is not None
    accounts.confirm(waiting.pk, by=house["bob"])
    assert "vp" in accounts.counting_groups(User.objects.get(pk=new.pk))


def test_a_member_without_the_row_does_not_count(house: House) -> None:
    """Whatever put them there: SQL, a shell, code that forgot."""
    stranger = factories.make_user("stranger", is_staff=True)
    stranger.groups.add(Group.objects.get(name="finance"))
    assert accounts.counting_groups(User.objects.get(pk=stranger.pk)) == set()


def test_who_comes_back_waits_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    later(monkeypatch)
    vp, ann = house["vp"], house["ann"]
    accounts.change(vp.pk, by=ann, values={}, groups=set())  # leaving takes one, at once
    assert groups_of(vp) == set()
    assert not Membership.objects.filter(person=vp).exists()
    assert latest_event("USER_CHANGED").meta["changes"] == {"groups": {"old": ["vp"], "new": []}}
    waiting = accounts.change(vp.pk, by=ann, values={}, groups={"vp"}).waiting
    assert waiting is not None
    accounts.confirm(waiting.pk, by=house["bob"])
    assert "vp" not in accounts.counting_groups(User.objects.get(pk=vp.pk))


def test_a_fresh_administrator_confirms_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    later(monkeypatch)
    helper = factories.make_user("helper", is_staff=True)
    mine = accounts.change(helper.pk, by=house["ann"], values={}, groups={"administrator"})
    assert mine.waiting is not None
    accounts.confirm(mine.waiting.pk, by=house["bob"])
    new = factories.make_user("new", is_staff=True)
    other = accounts.change(new.pk, by=house["ann"], values={}, groups={"vp"}).waiting
    assert other is not None
    with pytest.raises(Refused, match="once their own membership counts"):
        accounts.confirm(other.pk, by=User.objects.get(pk=helper.pk))


@pytest.mark.parametrize(
    ("field", "before", "wanted"),
    [
        ("email", "finance@example.com", "thief@example.com"),
        ("is_active", False, True),
        ("is_staff", False, True),
    ],
)
def test_an_account_that_decides_is_not_taken_over_by_one(
    house: House, field: str, before: Any, wanted: Any
) -> None:
    finance = house["finance"]
    User.objects.filter(pk=finance.pk).update(**{field: before})
    outcome = accounts.change(finance.pk, by=house["ann"], values={field: wanted})
    finance.refresh_from_db()
    assert getattr(finance, field) == before
    assert outcome.changes == {}
    assert outcome.waiting is not None
    accounts.confirm(outcome.waiting.pk, by=house["bob"])
    finance.refresh_from_db()
    assert getattr(finance, field) == wanted


def test_the_way_back_takes_one_person(house: House) -> None:
    accounts.change(house["vp"].pk, by=house["ann"], values={"is_active": False})
    assert not User.objects.get(pk=house["vp"].pk).is_active
    accounts.change(house["root"].pk, by=house["root"], values={"first_name": "Ruth"})


def test_a_superuser_is_made_by_two(house: House) -> None:
    with pytest.raises(Refused, match="Only a superuser"):
        accounts.change(house["ops"].pk, by=house["ann"], values={"is_superuser": True})
    outcome = accounts.change(house["ops"].pk, by=house["root"], values={"is_superuser": True})
    assert outcome.waiting is not None
    assert not User.objects.get(pk=house["ops"].pk).is_superuser
    with pytest.raises(Refused):
        accounts.confirm(outcome.waiting.pk, by=house["root"])
    accounts.confirm(outcome.waiting.pk, by=house["bob"])
    assert User.objects.get(pk=house["ops"].pk).is_superuser


def test_a_changed_address_is_told_to_the_old_one(house: House) -> None:
    auditor = factories.make_user("auditor", ["auditor"], is_staff=True, email="old@example.com")
    accounts.change(auditor.pk, by=house["ann"], values={"email": "new@example.com"})
    messages = OutboxMessage.objects.filter(subject__startswith="User auditor changed: email")
    assert {(each.recipient_type, each.recipient_label) for each in messages} == {
        ("address", "old@example.com"),
        *(("person", name) for name in ("ann", "auditor", "bob", "root")),
    }
    assert "email old@example.com → new@example.com" in messages[0].text


@pytest.mark.parametrize("changed", [{"email": "thief@example.com"}, {"username": "someone"}])
def test_what_was_proposed_about_one_address_is_not_done_to_another(
    house: House, changed: dict[str, str]
) -> None:
    new = factories.make_user("new", is_staff=True, email="new@example.com")
    waiting = accounts.change(new.pk, by=house["ann"], values={}, groups={"vp"}).waiting
    assert waiting is not None
    accounts.change(new.pk, by=house["ann"], values=changed)
    assert accounts.confirm(waiting.pk, by=house["bob"]).status == "stale"
    assert groups_of(new) == set()
    assert trail("ACCOUNT_CHANGE_") == [
        ("ACCOUNT_CHANGE_PROPOSED", f"user {new.pk}", "ann"),
        ("ACCOUNT_CHANGE_STALE", f"user {new.pk}", "tollgate"),
    ]


def test_a_proposal_of_somebody_who_left_is_worth_nothing(house: House) -> None:
    new = factories.make_user("new", is_staff=True)
    waiting = accounts.change(new.pk, by=house["ann"], values={}, groups={"vp"}).waiting
    assert waiting is not None
    accounts.change(house["ann"].pk, by=house["bob"], values={"is_active": False})
    assert accounts.confirm(waiting.pk, by=house["bob"]).status == "stale"


def test_it_expires_and_it_can_be_refused(house: House) -> None:
    new = factories.make_user("new", is_staff=True)
    first = accounts.change(new.pk, by=house["ann"], values={}, groups={"vp"}).waiting
    assert first is not None
    with pytest.raises(Conflict, match="waiting for a second administrator"):
        accounts.change(new.pk, by=house["bob"], values={}, groups={"finance"})
    accounts.refuse(first.pk, by=house["ann"], note="a slip")
    second = accounts.change(new.pk, by=house["ann"], values={}, groups={"vp"}).waiting
    assert second is not None
    AccountChange.objects.filter(pk=second.pk).update(expires_at=timezone.now())
    with pytest.raises(Conflict):
        accounts.confirm(second.pk, by=house["bob"])
    assert list(AccountChange.objects.order_by("pk").values_list("status", flat=True)) == [
        "refused",
        "expired",
    ]
    about = f"user {new.pk}"
    assert trail("ACCOUNT_CHANGE_") == [
        ("ACCOUNT_CHANGE_PROPOSED", about, "ann"),
        ("ACCOUNT_CHANGE_REFUSED", about, "ann"),
        ("ACCOUNT_CHANGE_PROPOSED", about, "ann"),
        ("ACCOUNT_CHANGE_EXPIRED", about, "tollgate"),
    ]
    facts = {"changeId": first.pk, "proposedBy": "ann", "reason": "a slip"}
    assert facts.items() <= meta_of("ACCOUNT_CHANGE_REFUSED").items()
    assert groups_of(new) == set()


def test_the_database_knows_four_eyes_too(house: House) -> None:
    new = factories.make_user("new", is_staff=True)
    waiting = accounts.change(new.pk, by=house["ann"], values={}, groups={"vp"}).waiting
    assert waiting is not None
    for person in (house["ann"], new):
        with pytest.raises(IntegrityError), transaction.atomic():
            AccountChange.objects.filter(pk=waiting.pk).update(
                status="confirmed", decided_by=person, decided_at=timezone.now()
            )


def test_nobody_changes_their_own_rights(house: House) -> None:
    for values, groups in (({}, {"administrator", "vp"}), ({"is_superuser": True}, None)):
        with pytest.raises(Refused):
            accounts.change(house["ann"].pk, by=house["ann"], values=values, groups=groups)
    for person in ("ops", "auditor"):
        by = factories.make_user(person, is_staff=True)
        with pytest.raises(Refused, match="Only administrators"):
            accounts.change(house["vp"].pk, by=by, values={"is_active": False})
    with pytest.raises(Refused, match="Only a superuser"):
        accounts.change(house["root"].pk, by=house["ann"], values={"email": "me@example.com"})


def test_no_other_page_puts_anybody_into_a_group(house: House) -> None:
    """The page of a group, its bulk actions, permissions of a person or of a group."""
    group = Group.objects.get(name="finance")
    client = logged_in(house["root"])
    ghost = factories.make_user("ghost", is_staff=True)
    before = list(group.permissions.values_list("pk", flat=True))
    latest_event = {
        "name": "finance",
        "user_set": [ghost.pk],
        "members": [ghost.pk],
        "permissions": [1],
    }
    for url in (
        reverse("admin:auth_group_change", args=[group.pk]),
        reverse("admin:auth_group_add"),
    ):
        assert client.post(url, latest_event).status_code == 403
    person = reverse("admin:auth_user_change", args=[ghost.pk])
    client.post(person, {**FORM, "username": "ghost", "user_permissions": [1, 2, 3]})
    for action in ("delete_selected", "activate", "make_superuser"):
        chosen = {"action": action, "_selected_action": [ghost.pk], "post": "yes"}
        client.post(reverse("admin:auth_user_changelist"), chosen)
    assert groups_of(ghost) == set()
    assert not ghost.user_permissions.exists()
    assert list(group.permissions.values_list("pk", flat=True)) == before


def test_with_one_administrator_the_machine_confirms_and_the_log_says_so(db: None) -> None:
    root = factories.make_user("root", is_staff=True, is_superuser=True)
    client = logged_in(root)
    new = add(client, "new", "operations")
    change = AccountChange.objects.get()
    page = client.get(reverse("admin:budgets_accountchange_change", args=[change.pk]))
    assert f"manage.py account_changes --confirm {change.pk}" in page.content.decode()
    accounts.confirm_by_command(change.pk, by="me (command line)")
    assert groups_of(new) == {"operations"}
    event = latest_event("ACCOUNT_CHANGE_CONFIRMED")
    assert event.actor == "me (command line)"
    assert event.meta["reason"] == "confirmed by command: there is no second administrator"
    assert Membership.objects.get(person=new).how == "command"


def test_single_sign_on_proposes_and_one_administrator_confirms(house: House) -> None:
    new = factories.make_user("new", is_staff=True)
    accounts.join_by_single_sign_on(new, {"auditor", "finance"})
    assert groups_of(new) == {"auditor"}
    again = accounts.join_by_single_sign_on(new, {"auditor", "finance"})
    assert (again.changes, AccountChange.objects.count()) == ({}, 1)
    change = AccountChange.objects.get()
    assert change.proposer == "single sign-on"
    assert [each.pk for each in accounts.waiting_for(house["ann"])] == [change.pk]
    accounts.confirm(change.pk, by=house["ann"])
    assert groups_of(new) == {"auditor", "finance"}


def test_the_pages_confirm_and_refuse(house: House) -> None:
    add(logged_in(house["ann"]), "new", "vp")
    change = AccountChange.objects.get()
    url = reverse("admin:budgets_accountchange_confirm", args=[change.pk])
    mine = logged_in(house["ann"]).post(url, {"sure": "yes"})
    assert "You proposed this" in mine.content.decode()
    bob = logged_in(house["bob"])
    assert ">1<" in bob.get(reverse("admin:index")).content.decode().replace(" ", "").replace(
        "\n", ""
    )
    answer = bob.post(url, {"sure": "yes"}, follow=True)
    assert "Confirmed: Add new to vp." in answer.content.decode()
    refuse = reverse("admin:budgets_accountchange_refuse", args=[change.pk])
    assert "already decided" in bob.post(refuse, {"reason": "x"}).content.decode()


def test_break_glass_is_reviewed_by_another_person_not_another_name(house: House) -> None:
    factories.make_work_order("w1")
    ops = house["ops"]
    (grant,) = approvals.raise_at_once(
        "w1", new={Measure.USD_PER_DAY: Decimal("9.00")}, minutes=10, reason="x", by=ops
    )
    accounts.change(ops.pk, by=house["ann"], values={"username": "olga"})
    me = User.objects.get(pk=ops.pk)
    with pytest.raises(Refused, match="their own"):
        approvals.review(grant.pk, by=me, text="fine")
    page = logged_in(me).get(reverse("admin:budgets_grant_change", args=[grant.pk]))
    assert reverse("admin:budgets_grant_review", args=[grant.pk]) not in page.content.decode()
    assert approvals.review(grant.pk, by=house["ops2"], text="fine").reviewed_by == house["ops2"]


def test_the_table_of_migrations_is_out_of_reach(house: House) -> None:
    """The first day of a house is read from there."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT has_table_privilege('django_migrations', 'UPDATE')")
        assert cursor.fetchone()[0] is False
        cursor.execute("SELECT has_table_privilege('former_names', 'DELETE')")
        assert cursor.fetchone()[0] is False
