"""Rows for tests: people, tokens, work orders, agents, limits, prices.

They write through the alias `default`, as the application's role, wherever that points: in a test
with `db` or `committed_db` to its database; between `with inside(service.database, blocker):` to
the database of a running service.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from allauth.account.authentication import AUTHENTICATION_METHODS_SESSION_KEY
from django.contrib.auth.models import Group, Permission, User
from django.db import connection, connections, transaction
from django.test import Client
from pytest_django import DjangoDbBlocker

from budgets.models import EACH, Budget, CapChange, Membership
from opslog import events
from opslog.identities import canonical
from opslog.models import InferenceHour, ModelPrice
from workorders import tokens
from workorders.models import Agent, ServiceToken, WorkOrder

DEFAULT_RUNS = 100
DEFAULT_USD = Decimal("2.00")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@contextmanager
def inside(database: str, blocker: DjangoDbBlocker) -> Iterator[None]:
    """Both connections of this thread use that database meanwhile; commits are real."""
    before = {alias: connections[alias].settings_dict["NAME"] for alias in ("default", "owner")}
    with blocker.unblock():
        try:
            for alias in before:
                connections[alias].close()
                connections[alias].settings_dict["NAME"] = database
            yield
        finally:
            for alias, name in before.items():
                connections[alias].close()
                connections[alias].settings_dict["NAME"] = name


def make_user(name: str = "svc", groups: Sequence[str] = (), **columns: Any) -> User:
    """A person; the one of that name, if there is one already. Groups are made as needed."""
    user, _ = User.objects.get_or_create(username=name, defaults=columns)
    for group in groups:
        join(user, group)
    return user


def confirmed(client: Client, person: User, method: str = "password") -> Client:
    """As if this person, who is signed in there, had just confirmed that it is them. `method` mfa:
    with their second factor."""
    session = client.session
    session[AUTHENTICATION_METHODS_SESSION_KEY] = [
        {"method": method, "at": time.time(), "reauthenticated": True}
    ]
    session["account_authentication_methods_user"] = str(person.pk)
    session.save()
    return client


def join(user: User, group: str, *, counts_from: datetime = LONG_AGO) -> None:
    """Into a group, which counts since long ago."""
    into = Group.objects.get_or_create(name=group)[0]
    with transaction.atomic():
        user.groups.add(into)
        Membership.objects.update_or_create(
            person=user, group=into, defaults={"how": "before", "counts_from": counts_from}
        )


def make_token(
    scopes: Sequence[str] = ("start",), owner: User | None = None, name: str = "test", **kw: Any
) -> tuple[ServiceToken, str]:
    """A service token and its text; kw as `workorders.tokens.create` takes them. It expires only
    on purpose: tests turn the clock by years."""
    kw.setdefault("never_expires", "expires_at" not in kw)
    return tokens.create(
        name=name, scopes=scopes, owner=owner or make_user(), **{"by": "test", **kw}
    )


def set_caps(
    work_order: WorkOrder,
    runs_per_day: int,
    usd_per_day: Decimal | str,
    max_concurrent_runs: int | None = None,
) -> WorkOrder:
    """Change caps as an applied change does: with its proof, in one transaction."""
    new_usd = Decimal(usd_per_day)
    at_once = max_concurrent_runs or work_order.max_concurrent_runs
    wanted = (runs_per_day, new_usd, at_once)
    if wanted == (
        work_order.runs_per_day,
        work_order.usd_per_day,
        work_order.max_concurrent_runs,
    ):
        return work_order
    with transaction.atomic():
        CapChange.objects.create(
            wo=work_order,
            old_runs_per_day=work_order.runs_per_day,
            new_runs_per_day=runs_per_day,
            old_usd_per_day=work_order.usd_per_day,
            new_usd_per_day=new_usd,
            old_max_concurrent_runs=work_order.max_concurrent_runs,
            new_max_concurrent_runs=at_once,
            reason="a test",
            by="test",
        )
        events.record(
            "WORK_ORDER_CAP_CHANGE",
            message="a test",
            owner=("work_order", work_order.pk),
            actor="test",
        )
        WorkOrder.objects.filter(pk=work_order.pk).update(
            runs_per_day=runs_per_day, usd_per_day=new_usd, max_concurrent_runs=at_once
        )
    work_order.refresh_from_db()
    return work_order


def make_work_order(
    id: str = "w1",
    *,
    runs_per_day: int = DEFAULT_RUNS,
    usd_per_day: Decimal | str = DEFAULT_USD,
    max_concurrent_runs: int = 2,
    title: str = "",
    status: str = "draft",
    **columns: Any,
) -> WorkOrder:
    """A work order with these caps, whatever the defaults are."""
    work_order = WorkOrder.objects.create(id=id, title=title or id, **columns)
    work_order.refresh_from_db()
    set_caps(work_order, runs_per_day, usd_per_day, max_concurrent_runs)
    return set_status(work_order, status)


def set_status(work_order: WorkOrder, status: str) -> WorkOrder:
    """Suspend or archive one as the application does: with its event, in one transaction."""
    if status != work_order.status:
        with transaction.atomic():
            events.record(
                f"WORK_ORDER_{status.upper()}",
                message="a test",
                owner=("work_order", work_order.pk),
                actor="test",
            )
            WorkOrder.objects.filter(pk=work_order.pk).update(status=status)
        work_order.refresh_from_db()
    return work_order


def make_agent(name: str = "agent-1", **columns: Any) -> Agent:
    return Agent.objects.create(name=canonical(name), label=name, **columns)


def set_limit(
    scope: str,
    window: str,
    measure: str,
    amount: Decimal | int | str | None,
    *,
    subject: str = "",
    **columns: Any,
) -> Budget:
    """A shared limit, of everything or of each of its scope; None switches it off."""
    limit, _ = Budget.objects.update_or_create(
        scope=scope,
        window=window,
        measure=measure,
        subject=subject or ("" if scope == "global" else EACH),
        defaults={"amount": amount, **columns},
    )
    return limit


def lift_limits() -> None:
    """No shared limit stands in the way of a test of something else, and none has a say."""
    Budget.objects.update(amount=None, warning_amount=None, alert_percents=[])


def make_price(
    model: str = "gpt-4o-mini", input: str = "0.15", output: str = "0.60", **kw: Any
) -> ModelPrice:
    """An own price in dollars per million tokens, in force since long ago."""
    return ModelPrice.objects.create(
        model=model,
        input_per_mtok=Decimal(input),
        output_per_mtok=Decimal(output),
        **{"effective_from": LONG_AGO, **kw},
    )


def client_of(*permissions: str, group: str = "auditor") -> Client:
    """A browser in which somebody of that group has logged in, with these permissions as well."""
    person = make_user("-".join(permissions) or group, groups=[group], is_staff=True)
    for label in permissions:
        app, _, codename = label.partition(".")
        person.user_permissions.add(permission(app, codename))
    client = Client()
    client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
    return client


def permission(app: str, codename: str) -> Permission:
    return Permission.objects.get(content_type__app_label=app, codename=codename)


def make_hour(
    day: date,
    *,
    at: int = 0,
    feature: str = "chat",
    usd: str = "1",
    requests: int = 10,
    **more: Any,
) -> InferenceHour:
    """What the telemetry of one hour of that day sums up to."""
    return InferenceHour.objects.create(
        hour=datetime(day.year, day.month, day.day, at, tzinfo=UTC),
        feature=feature,
        model=more.pop("model", "m"),
        trigger_type="user_request",
        requests=requests,
        failed=0,
        unpriced=more.pop("unpriced", 0),
        users=1,
        input_tokens=0,
        cached_input_tokens=0,
        output_tokens=0,
        reasoning_tokens=0,
        cost_usd=Decimal(usd),
        input_squares=0,
        output_squares=0,
        cost_squares=0,
        input_buckets=[],
        output_buckets=[],
        **more,
    )


def counter_key(scope: str, subject: str, window: str, starts_at: datetime) -> str:
    """As the database makes it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tollgate.counter_key(%s, %s, %s, %s)", [scope, subject, window, starts_at]
        )
        return str(cursor.fetchone()[0])
