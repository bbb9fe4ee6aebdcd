"""Four eyes are two people's: who asked or edited, and the token's maker and owner, do not vote."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from budgets import approvals
from budgets.exceptions import Refused
from budgets.models import ApprovalLimit, ChangeRequest
from tests.approvals.people import ask, decide, everybody
from tests.factories import confirmed, make_token, make_user
from tests.trail import meta_of, trail
from workorders import tokens
from workorders.models import ServiceToken, WorkOrder

VOTE = """
INSERT INTO change_votes (request_id, revision, decision, comment, evidence, voter_id)
SELECT id, 1, 'approve', 'x', jsonb_build_object(), {} FROM change_requests WHERE %s > 0
"""
BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture
def people(db: None) -> dict[str, User]:
    found = everybody()
    for name in ("ops2", "ops3"):
        found[name] = make_user(name, groups=["operations"])
    User.objects.update(is_staff=True)
    return found


def ask_with(text: str, usd: str = "9.99", work_order: str = "w1") -> Any:
    return Client().post(
        f"/api/work-orders/{work_order}/cap-changes",
        {"usdPerDay": usd, "justification": "the queue is long", "expectedCostImpact": "$1 a day"},
        content_type="application/json",
        headers={"Authorization": f"Bearer {text}"},
    )


def asked_with(text: str) -> ChangeRequest:
    answer = ask_with(text)
    assert answer.status_code == 201, answer.content
    return ChangeRequest.objects.get(pk=answer.json()["id"])


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user, backend=BACKEND)
    return client


def make_by_form(maker: User, owner: User) -> str:
    """A token as the admin makes it; gives its text."""
    page = confirmed(client_of(maker), maker).post(
        reverse("admin:workorders_servicetoken_add"),
        {"name": "digest", "owner": owner.pk, "scopes": ["request", "start"]},
    )
    text: str = page.context["text"]
    return text


def test_who_made_the_token_does_not_approve_what_it_asks(people: dict[str, User]) -> None:
    """Operations and administrator at once, with a token that a colleague owns."""
    maker = make_user("both", groups=["operations", "administrator"], is_staff=True)
    request = asked_with(make_by_form(maker, people["operations"]))
    assert request.requester == people["operations"]
    assert request.token_maker == maker
    with pytest.raises(Refused, match="you made the token that requested it"):
        decide(request, maker)
    page = client_of(maker).get(reverse("admin:budgets_changerequest_change", args=[request.pk]))
    shown = page.content.decode()
    assert "you made the token that requested it" in shown
    for name in ("both", "operations"):
        assert f"<strong>{name}</strong>" in shown
    assert "made the token that requested it" in shown
    assert decide(request, people["ops3"]).status == "applied"


def test_a_token_of_one_made_by_another(people: dict[str, User]) -> None:
    text = make_token(["request"], owner=people["operations"], created_by=people["ops2"])[1]
    request = asked_with(text)
    for name, why in (("operations", "you requested it"), ("ops2", "made the token")):
        with pytest.raises(Refused, match=why):
            decide(request, people[name])
        assert request not in approvals.waiting_for(people[name])
    assert request in approvals.waiting_for(people["ops3"])
    shown = client_of(people["ops2"]).get(f"/api/cap-changes/{request.pk}").json()
    assert shown["parties"] == [
        {"person": "operations", "roles": ["requester", "tokenOwner"]},
        {"person": "ops2", "roles": ["tokenMaker"]},
    ]
    assert (shown["mayDecide"], shown["byProgram"]) == (False, True)
    assert "you made the token" in shown["whyNot"]
    assert shown["token"]["name"] == "test"


def test_rotation_is_no_way_around(people: dict[str, User]) -> None:
    """Who made a token of the line may hold it: before the request, and after it."""
    first = make_token(["request"], owner=people["operations"], created_by=people["ops2"])[0]
    second, text = tokens.rotate(
        first.pk, by="ops3", created_by=people["ops3"], reason="time", overlap=timedelta(hours=1)
    )
    request = asked_with(text)
    assert request.token_maker == people["ops3"]
    fourth = make_user("ops4", groups=["operations"])
    tokens.rotate(second.pk, by="ops4", created_by=fourth, reason="time")
    for person in (people["ops2"], people["ops3"], fourth):
        with pytest.raises(Refused, match="you made the token"):
            decide(request, person)
        assert request not in approvals.waiting_for(person)
        with (
            pytest.raises(IntegrityError, match="own request"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(VOTE.format(person.pk), [1])
    fifth = make_user("ops5", groups=["operations"])
    assert request in approvals.waiting_for(fifth)
    assert decide(request, fifth).status == "applied"


def test_a_form_of_rotation_keeps_its_maker(people: dict[str, User]) -> None:
    first = make_token(["request"], owner=people["operations"])[0]
    administrator = people["administrator"]
    confirmed(client_of(administrator), administrator).post(
        reverse("admin:workorders_servicetoken_rotate", args=[first.pk]),
        {"reason": "time", "overlap_hours": 1},
    )
    assert first.successor.created_by == administrator


def test_people_are_compared_by_id(people: dict[str, User]) -> None:
    text = make_token(["request"], owner=people["operations"], created_by=people["ops2"])[1]
    request = asked_with(text)
    User.objects.filter(pk=people["ops2"].pk).update(username="somebody-else")
    with pytest.raises(Refused, match="own request"):
        decide(request, User.objects.get(pk=people["ops2"].pk))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE service_tokens SET owner_id = %s",
        "UPDATE service_tokens SET created_by_id = %s",
        "UPDATE change_requests SET token_maker_id = %s",
        "UPDATE change_requests SET token_owner_id = %s",
        "UPDATE change_requests SET requester_id = %s",
        VOTE.format("token_maker_id"),
        VOTE.format("token_owner_id"),
    ],
)
def test_no_statement_gets_around_it(people: dict[str, User], change: str) -> None:
    text = make_token(["request"], owner=people["operations"], created_by=people["ops2"])[1]
    asked_with(text)
    with (
        pytest.raises(IntegrityError, match=r"never change|cannot be rewritten|own request"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(change, [people["ops3"].pk])


def test_the_token_says_whose_it_is_not_the_statement(people: dict[str, User]) -> None:
    token = make_token(["request"], owner=people["operations"], created_by=people["ops2"])[0]
    made = ChangeRequest.objects.create(
        subject_id="w1",
        requester=people["operations"],
        token=token,
        token_owner=people["vp"],
        justification="x",
        expires_at="2100-01-01T00:00:00Z",
    )
    made.refresh_from_db()
    assert (made.token_owner, made.token_maker) == (people["operations"], people["ops2"])


def test_a_decided_request_stays_decided(people: dict[str, User]) -> None:
    request = ask(people, usd="60.00")
    approvals.cancel(request.pk, by=people["asker"])
    with (
        pytest.raises(IntegrityError, match="cannot be rewritten"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("UPDATE change_requests SET status = 'pending', decided_at = NULL")


class TestPrograms:
    """Asking is a scope of its own, and what a program asked never stands in a person's way."""

    @pytest.fixture
    def text(self, people: dict[str, User]) -> str:
        return make_token(["request"], owner=people["operations"], created_by=people["ops2"])[1]

    @pytest.mark.parametrize("scopes", [["start"], ["admin"], ["start", "admin", "killswitch"]])
    def test_no_other_scope_asks(self, people: dict[str, User], scopes: list[str]) -> None:
        answer = ask_with(make_token(scopes, owner=people["operations"])[1])
        assert (answer.status_code, answer.headers["Tollgate-Denial"]) == (403, "scope")
        assert not ChangeRequest.objects.exists()

    def test_a_token_asks_no_more_than_its_owner(self, people: dict[str, User]) -> None:
        answer = ask_with(make_token(["request"], owner=people["auditor"])[1])
        assert (answer.status_code, answer.headers["Tollgate-Denial"]) == (403, "scope")
        assert not ChangeRequest.objects.exists()

    def test_a_person_who_asks_sets_it_aside(self, people: dict[str, User], text: str) -> None:
        """Its owner asks for something else, and keeps the right to; others decide."""
        programs = asked_with(text)
        mine = approvals.ask(
            "w1",
            new={"usd_per_day": Decimal("5")},
            justification="x",
            expected_cost_impact="$1 a day",
            by=people["operations"],
        )
        programs.refresh_from_db()
        assert (programs.status, mine.status) == ("set_aside", "pending")
        assert trail("CAP_CHANGE_")[1:] == [
            ("CAP_CHANGE_SET_ASIDE", "work_order w1", "operations"),
            ("CAP_CHANGE_REQUESTED", "work_order w1", "operations"),
        ]
        assert ask_with(text).status_code == 409

    def test_a_person_takes_it_over(self, people: dict[str, User], text: str) -> None:
        request = asked_with(text)
        edited = approvals.edit(
            request.pk,
            new={"usd_per_day": Decimal("60")},
            justification="mine now",
            expected_cost_impact="$1 a day",
            by=people["director"],
        )
        assert (edited.requester, edited.revision) == (people["director"], 2)
        assert trail("CAP_CHANGE_")[1:] == [("CAP_CHANGE_EDITED", "work_order w1", "director")]
        facts = {
            "revision": 2,
            "reason": "mine now",
            "changes": {"usdPerDay": {"old": 2, "new": 60}},
        }
        assert facts.items() <= meta_of("CAP_CHANGE_EDITED").items()
        assert not edited.is_programs
        with pytest.raises(Refused, match="Only who asked"):
            approvals.edit(
                request.pk,
                new={"usd_per_day": Decimal("5")},
                justification="mine again",
                expected_cost_impact="$1 a day",
                by=people["vp"],
            )
        with pytest.raises(Refused, match="program's request"):
            approvals.set_aside(request.pk, by=people["vp"], reason="x")
        # The token stays a party, by its owner and its maker.
        for name in ("director", "operations", "ops2"):
            assert people[name].pk in approvals.people.parties(edited)
        decide(edited, people["finance"])
        assert decide(edited, people["vp"]).status == "applied"

    def test_votes_on_what_the_program_asked_count_no_more(
        self, people: dict[str, User], text: str
    ) -> None:
        answer = ask_with(text, usd="60.00")
        request = ChangeRequest.objects.get(pk=answer.json()["id"])
        decide(request, people["finance"])
        approvals.edit(
            request.pk,
            new={"usd_per_day": Decimal("70")},
            justification="more",
            expected_cost_impact="$1 a day",
            by=people["director"],
        )
        request.refresh_from_db()
        assert decide(request, people["vp"]).status == "pending"

    def test_setting_aside_over_http(self, people: dict[str, User], text: str) -> None:
        request = asked_with(text)

        def send(name: str, body: dict[str, str]) -> Any:
            return client_of(people[name]).post(
                f"/api/cap-changes/{request.pk}/cancel",
                json.dumps(body),
                content_type="application/json",
            )

        assert send("director", {"reason": ""}).status_code == 400
        assert send("director", {}).status_code == 422
        assert send("auditor", {"reason": "x"}).status_code == 403
        answer = send("director", {"reason": "it loops"})
        assert (answer.status_code, answer.json()["status"]) == (200, "set_aside")
        assert answer.json()["closingNote"] == "it loops"
        assert trail("CAP_CHANGE_")[1:] == [("CAP_CHANGE_SET_ASIDE", "work_order w1", "director")]
        assert meta_of("CAP_CHANGE_SET_ASIDE")["reason"] == "it loops"
        assert send("director", {"reason": "again"}).status_code in (403, 409)
        mine = ask(people, usd="9.99")
        other = client_of(people["director"]).post(
            f"/api/cap-changes/{mine.pk}/cancel",
            json.dumps({"reason": "x"}),
            content_type="application/json",
        )
        assert other.status_code == 403  # a person's request is decided

    def test_in_the_admin(self, people: dict[str, User], text: str) -> None:
        request = asked_with(text)
        director = client_of(people["director"])
        page = reverse("admin:budgets_changerequest_change", args=[request.pk])
        edit = reverse("admin:budgets_changerequest_edit", args=[request.pk])
        aside = reverse("admin:budgets_changerequest_set_aside", args=[request.pk])
        shown = director.get(page).content.decode()
        assert "a program with the token" in shown
        assert edit in shown
        assert aside in shown
        asking = director.get(reverse("admin:budgets_changerequest_add"), {"work_order": "w1"})
        assert f"request #{request.pk}" in asking.content.decode()
        assert director.get(edit).status_code == 200
        assert director.post(aside, {"reason": "it loops"}).status_code == 302
        request.refresh_from_db()
        assert request.status == "set_aside"
        assert aside not in director.get(page).content.decode()
        assert director.post(aside, {"reason": "again"}).status_code == 200  # and says why not

    def test_one_token_opens_no_more_than_its_limit(
        self, people: dict[str, User], text: str
    ) -> None:
        WorkOrder.objects.bulk_create(WorkOrder(id=f"more-{n}", title="x") for n in range(11))
        answers = [ask_with(text, work_order=f"more-{n}") for n in range(11)]
        assert [each.status_code for each in answers] == [201] * 10 + [422]
        assert "requests of this token are open" in answers[-1].json()["error"]
        # Its successor has no room of its own.
        token = ServiceToken.objects.get()
        successor = tokens.rotate(token.pk, by="x", reason="x")[1]
        assert ask_with(successor, work_order="more-10").status_code == 422
        # Setting them aside makes room, until the day's number is reached.
        limit = ApprovalLimit.objects.get(name="token_requests_a_day")
        approvals.lower(limit.pk, Decimal(10), reason="x", by=people["director"])
        first = ChangeRequest.objects.get(pk=answers[0].json()["id"])
        approvals.set_aside(first.pk, by=people["director"], reason="x")
        answer = ask_with(text, work_order="more-10")
        assert answer.status_code == 422
        assert "today" in answer.json()["error"]


def test_the_token_is_looked_at_again_when_the_last_vote_comes(people: dict[str, User]) -> None:
    """Who has become a party since their vote, by rotating the token, does not count."""
    token, text = make_token(["request"], owner=people["operations"])
    request = ChangeRequest.objects.get(pk=ask_with(text, usd="60.00").json()["id"])
    decide(request, people["finance"])
    tokens.rotate(token.pk, by="finance", created_by=people["finance"], reason="time")
    assert decide(request, people["vp"]).status == "pending"
    other = make_user("finance-2", groups=["finance"])
    assert decide(request, other).status == "applied"
