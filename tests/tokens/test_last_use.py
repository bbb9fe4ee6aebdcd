"""When and from where a token was last used: to the minute, and nobody waits for it."""

from datetime import timedelta

import psycopg
import pytest
from django.db import connections
from django.db.models.functions import Now

from tests import factories
from tests.admission.desk import Desk, run_of
from tests.tokens.rotating import owner_of
from workorders import tokens
from workorders.models import ServiceToken, TokenUse


@pytest.fixture
def desk(db: None) -> Desk:
    factories.lift_limits()
    factories.make_work_order("w1")
    return Desk(address="192.0.2.7")


def use_of(desk: Desk) -> TokenUse:
    return TokenUse.objects.get(token__digest=tokens.digest(desk.token))


def forget(minutes: int = 0) -> None:
    """As if nobody had used a token yet, or for so many minutes."""
    at = Now() - timedelta(minutes=minutes) if minutes else None
    TokenUse.objects.update(last_used_at=at, last_address=None)


def test_every_way_in_is_noted(desk: Desk) -> None:
    assert use_of(desk).last_used_at is None
    run = run_of(desk.start())
    ways = {
        "start": desk.start,
        "extend": lambda: desk.extend(run),
        "finish": lambda: desk.finish(run),
        "read": lambda: tokens.judge(desk.token, address="192.0.2.7", scopes=["start"]),
    }
    for way in ways.values():
        forget()
        way()
        assert use_of(desk).last_used_at is not None
        assert use_of(desk).last_address == "192.0.2.7"


def test_what_is_not_a_use(desk: Desk) -> None:
    """A dry run writes nothing; a request that is turned away is none of the token's."""
    desk.start(dry_run=True)
    tokens.judge(desk.token, address="192.0.2.7", scopes=["read"])
    assert use_of(desk).last_used_at is None


def test_it_is_noted_once_a_minute(desk: Desk) -> None:
    desk.start()
    first = use_of(desk)
    desk.address = "192.0.2.8"
    desk.start()
    assert (use_of(desk).last_used_at, use_of(desk).last_address) == (
        first.last_used_at,
        "192.0.2.7",
    )
    forget(minutes=2)
    desk.start()
    assert use_of(desk).last_address == "192.0.2.8"


def test_no_start_waits_for_the_row_of_its_token(committed_db: str) -> None:
    """Somebody holds both rows, as a revocation or another start does: `lock_timeout` is 2 s, so a
    start that waited would be refused with 503."""
    factories.lift_limits()
    factories.make_work_order("w1")
    desk = Desk()
    with psycopg.connect(**owner_of(committed_db)) as holder:
        holder.execute("SELECT FROM service_tokens FOR UPDATE")
        holder.execute("SELECT FROM token_uses FOR UPDATE")
        assert desk.start().status == 201
        assert use_of(desk).last_used_at is None
    desk.start()
    assert use_of(desk).last_used_at is not None
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM token_uses")
        assert cursor.fetchone() == (ServiceToken.objects.count(),)
