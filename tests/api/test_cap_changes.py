"""Cap changes over HTTP by people in a session: who may, what each refusal says, what is kept."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from budgets import approvals
from budgets.models import Budget, ChangeRequest, Vote
from opslog.models import OperationsEvent
from tests.approvals.people import ask, everybody
from tests.factories import make_token, make_user, make_work_order
from workorders.models import WorkOrder

SECRET = "a" * 32
PASSWORD = "correct horse battery"


@pytest.fixture
def people(db: None) -> dict[str, User]:
    found = everybody()
    for person in found.values():
        person.set_password(PASSWORD)
        person.save()
    return found


class Person(Client):
    """Somebody in a session, whose writes carry the CSRF token unless asked otherwise."""

    def __init__(self, user: User) -> None:
        super().__init__(enforce_csrf_checks=True)
        self.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        self.cookies["csrftoken"] = SECRET

    def send(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
        headers = {"X-CSRFToken": SECRET} if headers is None else headers
        return self.post(
            f"/api/cap-changes/{path}", body, content_type="application/json", headers=headers
        )


ANSWERS = {"legitimate": "yes", "reasonable": "yes", "optimise": "unsure"}


def decision_body(change: ChangeRequest, **more: Any) -> dict[str, Any]:
    body = {"decision": "approve", "comment": "fine", "revision": change.revision}
    return {**body, "answers": ANSWERS, **more}


@pytest.mark.parametrize("left_out", [*ANSWERS, None])
def test_who_approves_answers_the_three_questions(
    people: dict[str, User], left_out: str | None
) -> None:
    change = ask(people, usd="9.99")
    operator = Person(people["operations"])
    some = {name: item for name, item in ANSWERS.items() if left_out not in (None, name)}
    answer = operator.send(f"{change.pk}/decision", decision_body(change, answers=some or None))
    assert answer.status_code == 400
    missing = [left_out] if left_out else list(ANSWERS)
    assert set(answer.json()["fields"]) == {f"answers.{name}" for name in missing}
    change.refresh_from_db()
    assert change.status == "pending"
    refused = decision_body(change, decision="refuse", answers=None)
    assert operator.send(f"{change.pk}/decision", refused).json()["status"] == "refused"


def test_a_raise_of_a_shared_limit_is_decided_here_too(people: dict[str, User]) -> None:
    tokens = Budget.objects.get(scope="user", window="day", measure="tokens")
    change = approvals.ask(
        str(tokens.pk), kind="budget", new={"shared_limit": 200_000},
        justification="x", expected_cost_impact="$1 a day",
        by=people["asker"],
    )  # fmt: skip
    director = Person(people["director"])
    shown = director.get(f"/api/cap-changes/{change.pk}").json()
    assert (shown["workOrderId"], shown["subjectType"]) == (None, "budget")
    assert shown["changes"] == {"amount": {"old": "100000.00", "new": "200000.00"}}
    assert director.get("/api/cap-changes?workOrder=w1").json()["results"] == []
    answer = director.send(f"{change.pk}/decision", decision_body(change))
    assert (answer.status_code, answer.json()["status"]) == (200, "applied")
    tokens.refresh_from_db()
    assert tokens.amount == 200_000
    assert Vote.objects.get().evidence["limit"]["denials"] == ["user_quota"]


def test_an_approval_applies_and_keeps_the_evidence(people: dict[str, User]) -> None:
    change = ask(people, usd="9.99")
    answer = Person(people["operations"]).send(f"{change.pk}/decision", decision_body(change))
    assert (answer.status_code, answer.json()["status"]) == (200, "applied")
    assert answer.json()["changes"] == {"usdPerDay": {"old": "2.00", "new": "9.99"}}
    assert WorkOrder.objects.get().usd_per_day == Decimal("9.99")
    assert {"days", "flags", "whatIf"} <= Vote.objects.get().evidence.keys()


def test_reading(people: dict[str, User]) -> None:
    change = ask(people, usd="60.00")
    reader = Person(people["auditor"])
    listed = reader.get("/api/cap-changes?status=pending&workOrder=w1").json()["results"]
    assert [row["id"] for row in listed] == [change.pk]
    one = reader.get(f"/api/cap-changes/{change.pk}").json()
    assert one["signatures"] == [
        {"group": "finance", "signedBy": None},
        {"group": "vp", "signedBy": None},
    ]
    assert (one["mayDecide"], one["needsConfirmation"], one["impossible"]) == (False, True, "")
    assert Person(people["vp"]).get(f"/api/cap-changes/{change.pk}").json()["mayDecide"]
    assert reader.get("/api/cap-changes/999").status_code == 404
    assert reader.get("/api/cap-changes?color=red").status_code == 400
    nul = reader.get("/api/cap-changes?workOrder=%00")
    assert (nul.status_code, list(nul.json()["fields"])) == (400, ["workOrder"])
    assert not Vote.objects.exists()


@pytest.mark.parametrize("who", ["auditor", "administrator", "director", "asker"])
def test_who_may_not_decide(people: dict[str, User], who: str) -> None:
    change = ask(people, usd="9.99")
    answer = Person(people[who]).send(f"{change.pk}/decision", decision_body(change))
    assert answer.status_code == 403
    assert list(answer.json()) == ["error"]
    assert not Vote.objects.exists()


def test_over_fifty_dollars_who_approves_confirms_first(people: dict[str, User]) -> None:
    change = ask(people, usd="50.01")
    vp = Person(people["vp"])
    answer = vp.send(f"{change.pk}/decision", decision_body(change))
    assert (answer.status_code, answer.headers["Tollgate-Denial"]) == (403, "confirmation")
    for password in ("", "wrong", PASSWORD):
        assert not Vote.objects.exists()
        told_it = {"password": password, "csrfmiddlewaretoken": SECRET}
        assert vp.post("/account/confirm/", told_it).status_code == (
            302 if password == PASSWORD else 200
        )
        answer = vp.send(f"{change.pk}/decision", decision_body(change))
        assert answer.status_code == (200 if password == PASSWORD else 403)
    assert Vote.objects.exists()


@pytest.mark.parametrize("act", ["decision", "cancel", "edit"])
def test_without_csrf_without_session_with_a_token_nothing_happens(
    people: dict[str, User], act: str
) -> None:
    change = ask(people, usd="9.99")
    person = Person(people["operations"])
    for headers, denial in (
        ({}, "csrf"),
        ({"X-CSRFToken": "b" * 32}, "csrf"),
        ({"X-CSRFToken": SECRET, "Authorization": "Bearer tg_x"}, "session"),
        ({"X-CSRFToken": SECRET, "x-api-key": "tg_x"}, "session"),
    ):
        answer = person.send(f"{change.pk}/{act}", decision_body(change), headers)
        assert (answer.status_code, answer.headers["Tollgate-Denial"]) == (403, denial)
    person.logout()
    answer = person.send(f"{change.pk}/{act}", decision_body(change))
    assert (answer.status_code, answer.headers["Tollgate-Denial"]) == (403, "session")
    assert person.get(f"/api/cap-changes/{change.pk}/{act}").status_code == 405
    change.refresh_from_db()
    assert (change.status, change.revision) == ("pending", 1)


def test_somebody_was_quicker(people: dict[str, User]) -> None:
    change = ask(people, usd="9.99")
    operator, asker = Person(people["operations"]), Person(people["asker"])
    seen = decision_body(change)
    edited = {
        "usdPerDay": "8.00",
        "justification": "less will do",
        "expectedCostImpact": "$1 a day",
    }
    assert asker.send(f"{change.pk}/edit", edited).json()["revision"] == 2
    assert operator.send(f"{change.pk}/decision", seen).status_code == 409
    assert operator.send(f"{change.pk}/cancel", {}).status_code == 403
    assert operator.send(f"{change.pk}/edit", edited).status_code == 403
    assert asker.send(f"{change.pk}/cancel", {}).json()["status"] == "cancelled"
    assert asker.send(f"{change.pk}/cancel", {}).status_code == 409
    assert (
        operator.send(f"{change.pk}/decision", decision_body(change, revision=2)).status_code == 409
    )
    assert OperationsEvent.objects.filter(kind="CAP_CHANGE_CANCELLED").count() == 1


@pytest.mark.parametrize("impact", [None, "", "  ", 5])
def test_the_expected_cost_impact_is_required(people: dict[str, User], impact: Any) -> None:
    change = ask(people, usd="9.99")
    body = {"usdPerDay": "8.00", "justification": "month end"}
    if impact is not None:
        body["expectedCostImpact"] = impact
    for answer in (
        Person(people["asker"]).send(f"{change.pk}/edit", body),
        Client().post(
            "/api/work-orders/w1/cap-changes",
            body,
            content_type="application/json",
            headers={"x-api-key": make_token(["request"], owner=people["asker"])[1]},
        ),
    ):
        assert answer.status_code == 400
        assert list(answer.json()["fields"]) == ["expectedCostImpact"]
    change.refresh_from_db()
    assert change.revision == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"usdPerDay": "2.00", "justification": "same", "expectedCostImpact": "$1 a day"}, 422),
        ({"usdPerDay": "1.00", "justification": "lower", "expectedCostImpact": "$1 a day"}, 422),
        ({"usdPerDay": "2.001", "justification": "x", "expectedCostImpact": "$1 a day"}, 422),
        ({"usdPerDay": "8.00", "justification": " ", "expectedCostImpact": "$1 a day"}, 422),
        ({"usdPerDay": "8.00", "justification": "", "expectedCostImpact": "$1 a day"}, 400),
        ({"usdPerDay": "1e99999", "justification": "x", "expectedCostImpact": "$1 a day"}, 400),
        (
            {
                "usdPerDay": "8.00",
                "justification": "x",
                "expectedCostImpact": "$1 a day",
                "from": "2026-01-01T00:00:00Z",
            },
            422,
        ),
        (
            {
                "usdPerDay": "8.00",
                "justification": "x",
                "expectedCostImpact": "$1 a day",
                "until": "9999-12-31T23:59:59-09:00",
            },
            400,
        ),
        (
            {
                "usdPerDay": "8.00",
                "justification": "x",
                "expectedCostImpact": "$1 a day",
                "until": "2026-01-01T00:00:00",
            },
            400,
        ),
        ({"usd": "8.00", "justification": "x"}, 400),
    ],
)
def test_edits_that_make_no_sense(people: dict[str, User], body: Any, status: int) -> None:
    change = ask(people, usd="9.99")
    answer = Person(people["asker"]).send(f"{change.pk}/edit", body)
    assert answer.status_code == status, answer.content
    change.refresh_from_db()
    assert change.revision == 1


def test_a_superuser_has_no_vote_by_being_one(people: dict[str, User]) -> None:
    change = ask(people, usd="9.99")
    root = make_user("root", is_superuser=True)
    assert Person(root).send(f"{change.pk}/decision", decision_body(change)).status_code == 403


def test_the_examples_of_the_schema_are_true(people: dict[str, User]) -> None:
    schema = SchemaGenerator().get_schema(request=None, public=True)
    sent = 0
    for path, item in schema["paths"].items():
        if not path.startswith("/api/cap-changes") or "post" not in item:
            continue
        content = item["post"]["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            act = path.rsplit("/", 1)[1]
            make_work_order(act)
            nine = {"usd_per_day": Decimal(9)}
            change = approvals.ask(
                act,
                new=nine,
                justification="x",
                expected_cost_impact="$1 a day",
                by=people["asker"],
            )
            who = "operations" if act == "decision" else "asker"
            answer = Person(people[who]).send(f"{change.pk}/{act}", example["value"])
            assert answer.status_code == 200, (path, answer.content)
            sent += 1
    assert sent == 3
