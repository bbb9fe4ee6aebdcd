"""`manage.py create_token`."""

import pytest
from django.core.management import CommandError, call_command

from opslog.models import OperationsEvent
from tests import factories
from workorders.models import ServiceToken
from workorders.tokens import digest

pytestmark = pytest.mark.django_db(databases=["default", "owner"])


def test_prints_the_token_alone(capsys: pytest.CaptureFixture[str]) -> None:
    factories.make_user("boss", is_superuser=True, is_active=False)
    factories.make_user("root", is_superuser=True)
    factories.make_work_order("w1")
    call_command(
        *("create_token", "nightly", "--scope", "start", "--scope", "read"),
        *("--expires-in-days", "30", "--network", "10.0.0.0/8", "--network", "2001:db8::/32"),
        *("--work-order", "w1", "--surface", "ide", "--feature", "digest"),
    )
    printed = capsys.readouterr()
    text = printed.out.removesuffix("\n")
    assert "\n" not in text
    assert text not in printed.err
    token = ServiceToken.objects.get()
    assert bytes(token.digest) == digest(text)
    assert (token.name, token.scopes, token.owner.username) == (
        "nightly",
        ["read", "start"],
        "root",
    )
    assert (token.networks, token.work_orders) == (["10.0.0.0/8", "2001:db8::/32"], ["w1"])
    assert (token.surface, token.feature) == ("ide", "digest")
    assert token.expires_at is not None
    assert (token.expires_at - token.created_at).days in (29, 30)
    event = OperationsEvent.objects.get(kind="TOKEN_CREATED")
    assert event.actor == "root (command line)"
    assert text not in str(event.meta)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x"], "--scope"),
        (["x", "--scope", "everything"], "everything"),
        (["x", "--scope", "read", "--owner", "nobody"], "no active user 'nobody'"),
        (["x", "--scope", "read", "--owner", "gone"], "no active user 'gone'"),
        (["x", "--scope", "read", "--network", "10.0.0.1/8"], "CIDR"),
        (["x", "--scope", "read", "--network", "home"], "CIDR"),
        (["x", "--scope", "read", "--work-order", "nope"], "no work order 'nope'"),
        (["x", "--scope", "read", "--expires-in-days", "0"], "from 1 to"),
        (["x", "--scope", "read", "--expires-in-days", "9999999999"], "from 1 to"),
        (["x", "--scope", "read", "--expires-in-days", "soon"], "int"),
        (["", "--scope", "read"], "name"),
        (["a\nb", "--scope", "read"], "name"),
    ],
)
def test_says_what_is_wrong(arguments: list[str], message: str) -> None:
    factories.make_user("root", is_superuser=True)
    factories.make_user("gone", is_active=False)
    with pytest.raises(CommandError, match=message) as error:
        call_command("create_token", *arguments)
    assert "\n" not in str(error.value)
    assert not ServiceToken.objects.exists()


def test_without_a_superuser_an_owner_is_asked_for() -> None:
    with pytest.raises(CommandError, match="--owner"):
        call_command("create_token", "x", "--scope", "read")
