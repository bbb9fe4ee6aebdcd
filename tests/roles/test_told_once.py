"""What the application itself does is recorded by its own event, and by no trigger besides."""

from decimal import Decimal

from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from budgets import tasks
from budgets.approvals.rule_changes import replace
from budgets.approvals.rules import Rule
from opslog.models import ModelPrice, OperationsEvent
from opslog.price_book.own import set_price
from tests import factories
from tests.admission.desk import Desk, run_of
from tests.approvals.people import ask, decide, everybody
from workorders import agents, directory, tokens
from workorders.models import Agent, Run


def by_triggers() -> list[str]:
    events = OperationsEvent.objects.filter(meta__has_key="by").order_by("id")
    return list(events.values_list("message", flat=True))


def test_acts_of_the_application(committed_db: str) -> None:
    people = everybody()
    factories.make_agent("agent-2")
    before = by_triggers()  # people whom the test made by hand
    request = ask(people, usd="9.99")
    decide(request, people["operations"])
    other = ask(people, usd="20.00")
    decide(other, people["director"], decision="refuse")
    replace(
        "runs_per_day",
        [Rule("runs_per_day", Decimal(1), None, {"operations": 1})],
        by=people["administrator"],
        reason="simpler",
    )
    directory.register(title="New", wo_id="new", by="ops")
    directory.change_settings("new", title="Else", refuse_unknown_agents=True, by="ops")
    directory.suspend("new", by="ops", reason="x")
    agent = Agent.objects.get(name="agent-2")
    agent.is_active = False
    agents.save(agent, new=False, by="ops")
    token, _ = factories.make_token(["start", "read"], owner=people["operations"], name="mine")
    tokens.revoke(token.pk, by="ops", reason="x")
    price = ModelPrice(
        model="own", source="own", effective_from=factories.LONG_AGO, input_per_mtok=Decimal(1),
        output_per_mtok=Decimal(2),
    )  # fmt: skip
    set_price(price, by="ops", reason="x")
    price.input_per_mtok = Decimal(3)
    set_price(price, by="ops", reason="x")
    assert by_triggers() == before


def test_runs(committed_db: str) -> None:
    factories.make_work_order("w1")
    factories.make_agent()
    desk = Desk()
    before = by_triggers()
    run, late = run_of(desk.start()), run_of(desk.start())
    assert desk.extend(run, "0.05").status == 200
    assert desk.finish(run).status == 200
    Run.objects.using("owner").filter(pk=late).update(lease_expires_at=timezone.now())
    assert tasks.expire_leases() == 1
    assert desk.finish(late, "0.01").status == 200
    assert by_triggers() == before


def test_people_in_the_admin(committed_db: str) -> None:
    admin = factories.make_user("admin", is_staff=True, is_superuser=True)
    person = factories.make_user("person", is_staff=True)
    client = Client()
    client.force_login(admin, backend="django.contrib.auth.backends.ModelBackend")
    factories.confirmed(client, admin)
    before = by_triggers()
    groups = [Group.objects.get(name="auditor").pk]  # what decides waits for a second person
    answer = client.post(
        f"/admin/auth/user/{person.pk}/change/",
        {"username": "person", "is_active": "on", "groups": groups},
    )
    assert answer.status_code == 302
    assert by_triggers() == before
    assert OperationsEvent.objects.filter(kind="USER_CHANGED", owner_id=str(person.pk)).count() == 1
