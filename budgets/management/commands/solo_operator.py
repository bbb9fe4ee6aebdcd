"""`manage.py solo_operator`: whether one person alone may sign for themselves."""

from typing import Any

from django.core.management.base import CommandParser

from budgets.accounts.passwords import command_line
from budgets.approvals import solo_operator
from budgets.exceptions import Refused
from opslog.management.base import Documented


class Command(Documented):
    refusals = (Refused,)
    examples = (
        "manage.py solo_operator",
        'manage.py solo_operator on --minutes 60 --reason "one person until May"',
    )
    help = (
        "Shows whether one person alone may approve and review what they requested themselves, or "
        "switches it on or off. It needs the owner's database role. Off as shipped; in effect only "
        "while exactly one active person can sign."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("switch", choices=("on", "off"), nargs="?")
        parser.add_argument("--reason", default="", help="why; goes into the log")
        parser.add_argument(
            "--minutes",
            type=int,
            default=solo_operator.SHIPPED_MINUTES,
            help="from the request to the second signature, "
            f"{solo_operator.SHORTEST} to {solo_operator.LONGEST}",
        )

    def handle(
        self, *args: Any, switch: str | None, reason: str, minutes: int, **options: Any
    ) -> None:
        if switch is not None:
            rule = solo_operator.switch(
                enabled=switch == "on", minutes=minutes, reason=reason, by=command_line()
            )
            self.stdout.write(solo_operator.explained(rule))
            return
        standing = solo_operator.standing()
        if standing is None:
            self.stdout.write("Off: approvals and reviews need two people.")
            return
        self.stdout.write(
            f"On, second signature after {standing.minutes} minutes; "
            f"{'in effect' if standing.in_effect else 'not in effect'}. "
            f"Can sign: {', '.join(standing.signers) or 'nobody'}."
        )
