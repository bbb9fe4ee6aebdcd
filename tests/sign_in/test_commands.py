"""What only who has the machine may do, and what stays of it."""

import pytest
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.conf import LazySettings
from django.core.management import CommandError, call_command

from opslog.models import OperationsEvent
from tests.sign_in.people import is_in, person, set_up_app, signed_in

pytestmark = pytest.mark.django_db
WHY = {"reason": "lost the phone", "by": "ops"}


def test_second_factors_are_removed_with_an_event_and_every_session() -> None:
    ada = person("ada")
    client = signed_in("ada")
    set_up_app(client)
    call_command("remove_second_factor", "ada", **WHY)
    assert not Authenticator.objects.filter(user=ada).exists()
    assert not is_in(client)
    assert is_in(signed_in("ada"))
    event = OperationsEvent.objects.get(kind="SECOND_FACTORS_RESET")
    assert (event.actor, event.meta["reason"]) == ("ops", "lost the phone")
    assert OperationsEvent.objects.filter(kind="SECOND_FACTOR_REMOVED").count() == 2
    with pytest.raises(CommandError, match="has no second factor"):
        call_command("remove_second_factor", "ada", **WHY)
    with pytest.raises(CommandError, match="nobody named"):
        call_command("remove_second_factor", "eve", **WHY)


def test_an_account_is_linked_to_a_subject_once(settings: LazySettings) -> None:
    person("ada")
    person("ben")
    with pytest.raises(CommandError, match="OIDC_ISSUER is not set"):
        call_command("link_single_sign_on", "ada", subject="s-1", **WHY)
    settings.TOLLGATE_OIDC_ISSUER = "https://id.example"
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [{"provider_id": "oidc-x"}]}}
    call_command("link_single_sign_on", "ada", subject="s-1", **WHY)
    assert SocialAccount.objects.get(uid="s-1", provider="oidc-x").user.username == "ada"
    event = OperationsEvent.objects.get(kind="USER_CHANGED")
    assert event.meta["changes"]["single_sign_on"]["new"] == "s-1"
    for name, subject, item in (("ben", "s-1", "is ada's"), ("ada", "s-2", "linked already")):
        with pytest.raises(CommandError, match=item):
            call_command("link_single_sign_on", name, subject=subject, **WHY)
