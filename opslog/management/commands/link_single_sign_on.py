"""manage.py link_single_sign_on: who is here already comes by single sign-on from now on."""

from typing import Any

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from opslog import events
from opslog.management.base import Documented


class Command(Documented):
    examples = (
        'manage.py link_single_sign_on jane --subject 248289761001 --reason "joins single sign-on"',
    )
    help = (
        "Links an account to a subject (`sub`) of the identity provider of OIDC_ISSUER. Addresses "
        "and names link nobody: this does."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--subject", required=True, help="`sub`, as the provider says it")
        parser.add_argument("--reason", required=True, help="why; goes on record")
        parser.add_argument("--by", default="link_single_sign_on", help="who; goes on record")

    def handle(self, *args: Any, **options: Any) -> None:
        apps = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]
        if not apps:
            raise CommandError("OIDC_ISSUER is not set.")
        person = User.objects.filter(username=options["username"]).first()
        if person is None:
            raise CommandError(f"There is nobody named {options['username']}.")
        provider, subject = apps[0]["provider_id"], options["subject"]
        with transaction.atomic():
            taken = SocialAccount.objects.filter(provider=provider, uid=subject).first()
            if taken is not None:
                raise CommandError(f"That subject is {taken.user.username}'s.")
            if SocialAccount.objects.filter(provider=provider, user=person).exists():
                raise CommandError(f"{person.username} is linked already.")
            SocialAccount.objects.create(user=person, provider=provider, uid=subject)
            events.record(
                "USER_CHANGED",
                message=f"User {person.username} linked to single sign-on",
                owner=("user", str(person.pk)),
                label=person.username,
                actor=options["by"],
                meta={
                    "username": person.username,
                    "reason": options["reason"],
                    "changes": {"single_sign_on": {"old": None, "new": subject}},
                },
            )
        self.stdout.write(f"{person.username} is {subject} of {settings.TOLLGATE_OIDC_ISSUER}.")
