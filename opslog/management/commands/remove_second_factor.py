"""manage.py remove_second_factor: for somebody who has lost theirs and every recovery code."""

from typing import Any

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from opslog import events
from opslog.management.base import Documented


class Command(Documented):
    examples = ('manage.py remove_second_factor jane --reason "lost her phone, seen in person"',)
    help = (
        "Removes all second factors of a person, and signs them out everywhere. Each removal is an "
        "event. No page does this: who can run it has the machine."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--reason", required=True, help="why; goes on record")
        parser.add_argument("--by", default="remove_second_factor", help="who; goes on record")

    def handle(self, *args: Any, **options: Any) -> None:
        person = User.objects.filter(username=options["username"]).first()
        if person is None:
            raise CommandError(f"There is nobody named {options['username']}.")
        with transaction.atomic():
            found = list(Authenticator.objects.filter(user=person))
            if not found:
                raise CommandError(f"{person.username} has no second factor.")
            for factor in found:
                factor.delete()
            for session in UserSession.objects.filter(user=person):
                session.end()
            events.record(
                "SECOND_FACTORS_RESET",
                message=f"Second factors of {person.username} removed: {options['reason']}",
                owner=("user", str(person.pk)),
                label=person.username,
                actor=options["by"],
                meta={"reason": options["reason"], "factors": [each.type for each in found]},
            )
        self.stdout.write(
            f"Removed. {person.username} is signed out, and sets up another at the next sign-in."
        )
