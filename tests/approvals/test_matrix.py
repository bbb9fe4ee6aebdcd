"""Every boundary value × everybody × every way in, against the table below.

The table is written out, not computed: it is what design and source say, so that a change of the
code's rules cannot change what is expected of them.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import reverse

from budgets import approvals
from budgets.exceptions import Refused
from budgets.models import ChangeRequest, Vote
from tests.factories import confirmed, make_token, make_user, make_work_order
from workorders.models import WorkOrder

BACKEND = "django.contrib.auth.backends.ModelBackend"
SECRET = "a" * 32
GROUPS = ("operations", "director", "finance", "vp", "auditor", "administrator")

# What is asked for → whose signature counts. (Caps before: $2.00 and 100 runs a day.)
OPERATIONS = {"operations", "owner of a token", "superuser in operations"}
DIRECTOR = {"director"}
BOTH = {"finance", "vp"}
TABLE: list[tuple[dict[str, Any], set[str]]] = [
    ({"usd_per_day": "2.01"}, OPERATIONS),
    ({"usd_per_day": "9.99"}, OPERATIONS),
    ({"usd_per_day": "10.00"}, DIRECTOR),
    ({"usd_per_day": "10.01"}, DIRECTOR),
    ({"usd_per_day": "50.00"}, DIRECTOR),
    ({"usd_per_day": "50.01"}, BOTH),
    ({"usd_per_day": "1000000.00"}, BOTH),
    ({"runs_per_day": 101}, OPERATIONS),
    ({"runs_per_day": 999}, OPERATIONS),
    ({"runs_per_day": 1000}, DIRECTOR),
    ({"runs_per_day": 10_000_000}, DIRECTOR),
    ({"max_concurrent_runs": 3}, DIRECTOR),
    ({"usd_per_day": "9.99", "runs_per_day": 999}, OPERATIONS),
    ({"usd_per_day": "9.99", "runs_per_day": 1000}, DIRECTOR),
    ({"usd_per_day": "50.01", "runs_per_day": 999}, BOTH),
    ({"usd_per_day": "60.00", "runs_per_day": 1000}, BOTH | DIRECTOR),
]
# One signature of these applies it; of the others it needs more.
ALONE = [OPERATIONS, DIRECTOR]
ROLES = (
    *GROUPS,
    "requester",
    "superuser",
    "superuser in operations",
    "inactive",
    "owner of a token",
    "service token",
)


@pytest.fixture
def people(db: None) -> dict[str, User]:
    make_work_order()
    every = ["operations", "director", "finance", "vp"]  # who is barred is so for no other reason
    found = {name: make_user(name, groups=[name]) for name in GROUPS} | {
        "requester": make_user("requester", groups=every),
        "superuser": make_user("root", is_superuser=True),
        "superuser in operations": make_user("root-2", groups=["operations"], is_superuser=True),
        "inactive": make_user("gone", groups=every, is_active=False),
        "owner of a token": make_user("owner", groups=["operations"]),
    }
    User.objects.update(is_staff=True)
    return {name: User.objects.get(pk=user.pk) for name, user in found.items()}


@pytest.fixture
def token(people: dict[str, User]) -> str:
    every = ["start", "read", "admin", "killswitch", "ingest", "request"]
    return make_token(every, owner=people["owner of a token"])[1]


@pytest.fixture
def clients(people: dict[str, User]) -> dict[str, Client]:
    found = {}
    for name, user in people.items():
        found[name] = Client()
        found[name].force_login(user, backend=BACKEND)
        found[name].cookies["csrftoken"] = SECRET
        confirmed(found[name], user)
    return found


Way = Callable[[ChangeRequest, str], None]


def ways(
    people: dict[str, User], clients: dict[str, Client], token: str
) -> Iterator[tuple[str, Way]]:
    """Each decides if it can, and says nothing: what counts is what is stored after it."""

    def by_function(change: ChangeRequest, role: str) -> None:
        if role == "service token":
            return  # a program has no account to call it with
        with suppress(Refused):
            approvals.decide(
                change.pk,
                by=people[role],
                decision="approve",
                comment="fine",
                seen_revision=change.revision,
                password_confirmed=True,
            )

    def sender(role: str) -> tuple[Client, dict[str, str]]:
        if role == "service token":
            return Client(), {"Authorization": f"Bearer {token}"}
        return clients[role], {"X-CSRFToken": SECRET}

    def by_form(change: ChangeRequest, role: str) -> None:
        client, headers = sender(role)
        form = {
            "decision": "approve",
            "comment": "fine",
            "seen_revision": change.revision,
            "legitimate": "yes",
            "reasonable": "yes",
            "optimise": "no",
        }
        address = reverse("admin:budgets_changerequest_decide", args=[change.pk])
        client.post(address, form, headers=headers)

    def by_rest(change: ChangeRequest, role: str) -> None:
        client, headers = sender(role)
        answers = {"legitimate": "yes", "reasonable": "yes", "optimise": "no"}
        body = {"decision": "approve", "comment": "fine", "revision": change.revision}
        body |= {"answers": answers}
        answer = client.post(
            f"/api/cap-changes/{change.pk}/decision",
            json.dumps(body),
            content_type="application/json",
            headers=headers,
        )
        assert (answer.status_code == 200) == Vote.objects.exists()
        assert answer.status_code in (200, 403)

    def by_many(change: ChangeRequest, role: str) -> None:
        if role == "service token":
            return
        approvals.decide_many(
            {change.pk: change.revision}, by=people[role], decision="approve", comment="fine"
        )

    yield "function", by_function
    yield "form", by_form
    yield "REST", by_rest
    yield "several at once", by_many


@pytest.mark.parametrize(("wanted", "signers"), TABLE)
def test_whose_signature_counts(
    people: dict[str, User],
    clients: dict[str, Client],
    token: str,
    wanted: dict[str, Any],
    signers: set[str],
) -> None:
    new = {key: Decimal(each) if isinstance(each, str) else each for key, each in wanted.items()}
    change = approvals.ask(
        "w1", new=new, justification="x", expected_cost_impact="$1 a day", by=people["requester"]
    )
    over_fifty = Decimal(wanted.get("usd_per_day", "0")) > 50
    before = approvals.caps_of(WorkOrder.objects.get())
    for way, decide in ways(people, clients, token):
        for role in ROLES:
            counts = role in signers and not (way == "several at once" and over_fifty)
            with transaction.atomic():
                decide(change, role)
                result = (way, role)
                assert Vote.objects.filter(decision="approve").count() == counts, result
                status = "applied" if counts and signers in ALONE else "pending"
                assert ChangeRequest.objects.get().status == status, result
                moved = approvals.caps_of(WorkOrder.objects.get()) != before
                assert moved == (status == "applied"), result
                transaction.set_rollback(True)


@pytest.mark.parametrize(
    ("usd", "runs", "lowered"),
    [("1.99", None, True), (None, 99, True), ("1.99", 99, True), ("1.99", 101, False)],
)
def test_lowering_takes_one_operator(
    people: dict[str, User], usd: str | None, runs: int | None, lowered: bool
) -> None:
    new = {"usd_per_day": None if usd is None else Decimal(usd), "runs_per_day": runs}
    for role in ("operations", "director", "finance", "vp", "auditor", "superuser"):
        with transaction.atomic():
            try:
                made = approvals.ask(
                    "w1",
                    new=new,
                    justification="x",
                    expected_cost_impact="$1 a day",
                    by=people[role],
                )
            except Refused:
                assert lowered
                assert role != "operations"
            else:
                assert made.status == ("applied" if lowered else "pending")
                assert role == "operations" or not lowered
            transaction.set_rollback(True)


def test_a_token_lowers_nothing(people: dict[str, User], token: str) -> None:
    """It would take effect at once: that is a decision, even where its owner is an operator."""
    answer = Client().post(
        "/api/work-orders/w1/cap-changes",
        {"usdPerDay": "1.00", "justification": "x", "expectedCostImpact": "$1 a day"},
        content_type="application/json",
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 422
    assert WorkOrder.objects.get().usd_per_day == Decimal("2.00")
