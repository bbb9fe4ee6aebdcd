"""Tokens end by themselves, and their owners are notified before."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from opslog.exceptions import NotAllowedNow
from opslog.models import OperationsEvent, OutboxMessage
from tests import factories
from workorders import tasks, tokens
from workorders.models import ServiceToken, TokenPolicy

pytestmark = pytest.mark.django_db(databases=["default", "owner"])


def ends_in(*, owner: User | None = None, **left: float) -> ServiceToken:
    """A token that was made 90 days before it ends."""
    token, _ = factories.make_token(never_expires=False, owner=owner)
    ends = timezone.now() + timedelta(**left)
    ServiceToken.objects.filter(pk=token.pk).update(
        expires_at=ends, created_at=ends - timedelta(days=90)
    )
    token.refresh_from_db()
    return token


def keys() -> list[str]:
    return list(OutboxMessage.objects.order_by("id").values_list("key", flat=True))


def test_a_token_expires_by_the_policy_and_never_only_on_purpose() -> None:
    token, _ = factories.make_token(never_expires=False)
    assert token.expires_at is not None
    assert (token.expires_at - timezone.now()).days in (89, 90)
    TokenPolicy.objects.update(lifetime_days=7)
    shorter, _ = factories.make_token(never_expires=False)
    assert shorter.expires_at is not None
    assert (shorter.expires_at - timezone.now()).days in (6, 7)
    for_good, _ = factories.make_token(never_expires=True)
    assert for_good.expires_at is None


def test_the_command_says_when_it_expires(capsys: pytest.CaptureFixture[str]) -> None:
    factories.make_user("root", is_superuser=True)
    call_command("create_token", "tutorial", "--scope", "start")
    token = ServiceToken.objects.get(name="tutorial")
    assert f"It expires on {token.expires_at:%Y-%m-%d}" in capsys.readouterr().err
    call_command("create_token", "pump", "--scope", "start", "--never-expires")
    assert "It never expires." in capsys.readouterr().err
    assert ServiceToken.objects.get(name="pump").expires_at is None
    both = ("--never-expires", "--expires-in-days", "3")
    with pytest.raises(CommandError, match="not allowed with"):
        call_command("create_token", "x", "--scope", "start", *both)


@pytest.mark.parametrize(
    ("left", "days"),
    [
        ({"days": 14, "minutes": 5}, []),
        ({"days": 13, "hours": 23}, ["14"]),
        ({"days": 3, "minutes": 5}, ["14"]),
        ({"days": 2, "hours": 23}, ["3"]),
        ({"minutes": 1}, ["3"]),
        ({"minutes": -1}, []),
    ],
)
def test_owners_are_told_ahead_once(left: dict[str, int], days: list[str]) -> None:
    token = ends_in(owner=None, **left)
    assert tasks.remind_of_tokens() == len(days)
    tasks.remind_of_tokens()
    assert keys() == [f"expires:{token.pk}:{day}" for day in days]
    if days:
        message = OutboxMessage.objects.get()
        assert message.recipient_label == token.owner.get_username()
        assert token.name in message.subject
        assert message.link == f"/admin/workorders/servicetoken/{token.pk}/change/"


def test_fourteen_days_ahead_and_again_three() -> None:
    token = ends_in(days=10)
    tokens.remind()
    ServiceToken.objects.filter(pk=token.pk).update(expires_at=timezone.now() + timedelta(days=2))
    tokens.remind()
    assert keys() == [f"expires:{token.pk}:14", f"expires:{token.pk}:3"]


def test_of_some_nobody_is_told() -> None:
    """What was made for a day, is revoked, rotated or without an end, or its owner's gone."""
    soon = timezone.now() + timedelta(days=1)
    factories.make_token(expires_at=soon)
    tokens.revoke(ends_in(days=2).pk, by="ops", reason="a test")
    tokens.rotate(ends_in(days=2).pk, by="ops", reason="a test")
    factories.make_token(never_expires=True)
    gone = ends_in(days=2, owner=factories.make_user("gone"))
    User.objects.filter(pk=gone.owner_id).update(is_active=False)
    assert tokens.remind() == 0
    assert keys() == []


def test_the_policy_is_changed_with_a_reason_and_an_event() -> None:
    with pytest.raises(NotAllowedNow, match="reason"):
        tokens.change_policy(lifetime_days=30, overlap_hours=24, by="admin", reason=" ")
    with pytest.raises(NotAllowedNow, match="Nothing would change"):
        tokens.change_policy(lifetime_days=90, overlap_hours=24, by="admin", reason="why")
    tokens.change_policy(lifetime_days=30, overlap_hours=24, by="admin", reason="why")
    event = OperationsEvent.objects.get(kind="TOKEN_POLICY_CHANGE")
    assert event.actor == "admin"
    assert event.meta == {"changes": {"lifetime_days": {"old": 90, "new": 30}}, "reason": "why"}
