"""A token and its successors are one line: what one has begun, the other can finish."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connections, transaction
from django.utils import timezone

from budgets.controls import kill_switch
from budgets.models import IdempotencyRecord
from opslog.exceptions import NotAllowedNow
from opslog.models import OperationsEvent
from tests import factories
from tests.admission.desk import Desk, body, run_of
from tests.tokens.rotating import owner_of, rotated, token_of
from tests.trail import meta_of, trail
from workorders import tokens
from workorders.models import Run, ServiceToken


@pytest.fixture
def desk(db: None) -> Desk:
    factories.lift_limits()
    factories.make_work_order("w1", max_concurrent_runs=50)
    return Desk()


def test_the_successor_keeps_the_ceiling(db: None) -> None:
    """One that was lowered does not rise by rotating; $100 is where a token begins."""
    old, _ = factories.make_token()
    ServiceToken.objects.filter(pk=old.pk).update(max_run_usd=50)
    new, _ = tokens.rotate(old.pk, by="ops", reason="quarterly")
    assert new.max_run_usd == 50


def test_the_successor_has_the_same_rights_and_the_old_one_ends(db: None) -> None:
    factories.make_work_order("w1")
    old, _ = factories.make_token(
        ["start", "read"],
        networks=["10.0.0.0/8"],
        work_orders=["w1"],
        surface="ide",
        feature="chat",
    )
    new, text = tokens.rotate(old.pk, by="ops", reason="quarterly")
    old.refresh_from_db()
    assert old.expires_at is not None
    assert new.expires_at is not None
    for name in ("name", "owner", "scopes", "networks", "work_orders", "surface", "feature"):
        assert getattr(new, name) == getattr(old, name)
    assert (old.lineage, new.lineage) == (old.pk, old.pk)
    assert timedelta(hours=23) < old.expires_at - timezone.now() <= timedelta(hours=24)
    assert timedelta(days=89) < new.expires_at - timezone.now() <= timedelta(days=90)
    event = OperationsEvent.objects.get(kind="TOKEN_ROTATED")
    assert (event.owner_id, event.meta["successor"]) == (str(old.pk), new.pk)
    made = OperationsEvent.objects.filter(kind="TOKEN_CREATED").latest("id")
    assert made.meta["predecessor"] == old.pk
    assert text not in str(list(OperationsEvent.objects.values_list("message", "meta")))


def test_an_overlap_never_prolongs_and_may_be_none(desk: Desk) -> None:
    new = rotated(desk, overlap=timedelta(0))
    assert desk.start().denial == "token"
    assert new.start().status == 201
    soon = timezone.now() + timedelta(hours=1)
    ServiceToken.objects.filter(pk=token_of(new).pk).update(expires_at=soon)
    rotated(new)
    assert token_of(new).expires_at == soon


Pick = Callable[[Desk, Desk], tuple[Desk, Desk]]


@pytest.mark.parametrize(
    "pick", [lambda old, new: (old, new), lambda old, new: (new, old)], ids=["forth", "back"]
)
def test_keys_and_runs_are_reached_by_both(desk: Desk, pick: Pick) -> None:
    one, other = pick(desk, rotated(rotated(desk)))  # the first and the third of the line
    first = one.start(key="k")
    assert first.status == 201
    again = other.start(key="k")
    assert (again.status, again.replayed, run_of(again)) == (201, True, run_of(first))
    assert other.start(key="k", usd="0.20").status == 422
    assert one.extend(run_of(first), usd="0.05", key="more").status == 200
    more = other.extend(run_of(first), usd="0.05", key="more")
    assert (more.replayed, body(more)["reservedUsd"]) == (True, "0.15")
    assert other.extend(run_of(first), lease=60).status == 200  # the lease alone
    assert other.finish(run_of(first)).status == 200
    assert one.finish(run_of(first)).replayed
    assert Run.objects.count() == 1


def test_to_another_line_it_does_not_exist(desk: Desk) -> None:
    run = run_of(desk.start(key="k"))
    stranger = Desk(token=factories.make_token(name="test")[1])  # of the same name and owner
    assert stranger.finish(run).denial == "unknown_run"
    assert stranger.extend(run).denial == "unknown_run"
    assert stranger.start(key="k").replayed is False


@pytest.mark.parametrize("stopped", [0, 1, 2])
def test_a_stop_of_one_stops_the_line(desk: Desk, stopped: int) -> None:
    second = rotated(desk)
    third = rotated(second)
    line = (desk, second, third)
    run = run_of(desk.start())
    target = f"token:{token_of(line[stopped]).prefix}"
    _, stops = kill_switch.switch("Identity", target, enabled=True, reason="a test", by="ops")
    assert (stops.runs, stops.running) == (1, 1)
    assert {each.start().denial for each in line} == {"kill_switch"}
    assert {each.extend(run).denial for each in line} == {"kill_switch"}
    assert rotated(third).start().denial == "kill_switch"


def test_revoking_one_leaves_the_others_and_all_of_the_line_none(desk: Desk) -> None:
    new = rotated(desk)
    tokens.revoke(token_of(desk).pk, by="ops", reason="a test")
    assert (desk.start().denial, new.start().denial) == ("token", "")
    newest = rotated(new)
    assert tokens.revoke_line(token_of(desk).pk, by="ops", reason="leaked") == 2
    assert {each.start().denial for each in (new, newest)} == {"token"}
    tokens_of_line = [token_of(each).pk for each in (desk, new, newest)]
    assert sorted(trail("TOKEN_REVOKED")) == [
        ("TOKEN_REVOKED", f"service_token {pk}", "ops") for pk in sorted(tokens_of_line)
    ]
    assert meta_of("TOKEN_REVOKED")["reason"] == "leaked"


def test_what_is_not_rotated(desk: Desk) -> None:
    new = rotated(desk)
    with pytest.raises(NotAllowedNow, match="Rotate its successor"):
        rotated(desk)
    with pytest.raises(NotAllowedNow, match="reason"):
        rotated(new, reason=" ")
    tokens.revoke(token_of(new).pk, by="ops", reason="a test")
    with pytest.raises(NotAllowedNow, match="revoked"):
        rotated(new)
    other = Desk()
    owner = token_of(other).owner
    owner.is_active = False
    owner.save()
    with pytest.raises(NotAllowedNow, match="switched off"):
        rotated(other)


def test_nobody_names_a_line_that_is_not_theirs(desk: Desk) -> None:
    old = token_of(desk)
    liar = ServiceToken.objects.create(
        name="liar", digest=b"x", scopes=["start"], owner=old.owner, lineage=old.lineage
    )
    liar.refresh_from_db()
    assert liar.lineage == liar.pk
    for changed in ({"lineage": old.pk}, {"predecessor": old}):
        with pytest.raises(IntegrityError, match="never changes"), transaction.atomic():
            ServiceToken.objects.filter(pk=liar.pk).update(**changed)
    with pytest.raises(IntegrityError, match="one owner"), transaction.atomic():
        ServiceToken.objects.create(
            name="x",
            digest=b"y",
            scopes=["start"],
            owner=factories.make_user("other"),
            predecessor=old,
        )


def test_the_command(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    old = token_of(desk)
    call_command("rotate_token", old.prefix, "--overlap-hours", "1", "--expires-in-days", "30")
    printed = capsys.readouterr()
    text = printed.out.removesuffix("\n")
    assert Desk(token=text).start().status == 201
    assert text not in printed.err
    assert "It expires on" in printed.err
    for arguments, item in (
        ([str(old.pk)], "rotated already"),
        (["tg_none"], "no service token"),
        (["9" * 40], "no service token"),
        ([old.prefix, "--overlap-hours", "-1"], "from 0 to"),
        ([old.prefix, "--expires-in-days", "0"], "from 1 to"),
    ):
        with pytest.raises(CommandError, match=item):
            call_command("rotate_token", *arguments)


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Each on a connection of its own, at the same moment."""
    barrier = threading.Barrier(len(acts))

    def one(act: Callable[[], Any]) -> Any:
        try:
            barrier.wait()
            return act()
        except (NotAllowedNow, IntegrityError) as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(one, acts))


def test_two_rotations_at_once_make_one_successor(committed_db: str) -> None:
    factories.lift_limits()
    for _ in range(5):
        old, _ = factories.make_token()

        def rotate(pk: int = old.pk) -> Any:
            return tokens.rotate(pk, by="ops", reason="a test")

        answers = at_once(rotate, rotate, rotate)
        assert sum(isinstance(each, NotAllowedNow) for each in answers) == 2
        assert ServiceToken.objects.filter(lineage=old.pk).count() == 2


def open_line() -> tuple[Desk, Desk]:
    factories.lift_limits()
    factories.make_work_order("w1", max_concurrent_runs=500, runs_per_day=500, usd_per_day="500")
    old = Desk()
    return old, rotated(old)


def test_one_key_under_both_at_once_is_one_run(committed_db: str) -> None:
    old, new = open_line()
    for number in range(20):
        answers = at_once(
            *(lambda d=each, k=f"k{number}": d.start(key=k) for each in (old, new, old, new))
        )
        assert {each.status for each in answers} == {201}
        assert len({run_of(each) for each in answers}) == 1
    assert Run.objects.count() == 20


def test_the_control_without_a_line_one_key_is_two_runs(committed_db: str) -> None:
    """As if the successor were a stranger: this is what the lineage holds together."""
    old, new = open_line()
    with psycopg.connect(**owner_of(committed_db)) as owner:
        owner.execute("ALTER TABLE service_tokens DISABLE TRIGGER keep_line")
        owner.execute("UPDATE service_tokens SET lineage = id")
    answers = at_once(lambda: old.start(key="k"), lambda: new.start(key="k"))
    assert len({run_of(each) for each in answers}) == 2
    assert IdempotencyRecord.objects.count() == 2
    assert new.finish(run_of(answers[0])).denial == "unknown_run"
