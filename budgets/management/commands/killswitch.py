"""`manage.py killswitch`: stop everything, a surface or an identity, also without a web server."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from budgets.accounts.passwords import command_line
from budgets.controls import kill_switch
from budgets.exceptions import Refused
from budgets.models import KillSwitch
from opslog.management.base import Documented, add_yes

SCOPES = {scope.lower(): scope for scope in KillSwitch.Scope.values}


class Command(Documented):
    refusals = (Refused,)
    examples = (
        'manage.py killswitch on global --reason "runaway spend" --yes',
        'manage.py killswitch off global --reason "mended"',
        "manage.py killswitch list",
    )
    exits = {1: "nothing was switched: not confirmed, no reason, or the database does not answer"}
    help = (
        "Switch a kill switch on or off, or list them. It writes to the database directly, so it "
        "works when no web server answers. From the next admission on nothing passes it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=("on", "off", "list"))
        parser.add_argument(
            "scope", nargs="?", choices=sorted(SCOPES), help="what it stops; not for list"
        )
        parser.add_argument(
            "target",
            nargs="?",
            help="the surface; or user:NAME, agent:NAME, token:PREFIX; none for global",
        )
        parser.add_argument("--reason", default="", help="why; goes into the log")
        parser.add_argument("--by", default="", help="who; default: the user of this machine")
        add_yes(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["action"] == "list":
                self.show()
            else:
                self.switch(**options)
        except DatabaseError as error:
            raise CommandError(
                f"The database does not serve: {' '.join(str(error).split())}"
            ) from None

    def show(self) -> None:
        switches = list(KillSwitch.objects.all())
        if not switches:
            self.stdout.write("No kill switch was ever set.")
        for each in switches:
            state = "ON " if each.enabled else "off"
            self.stdout.write(
                f"{state}  {each.scope:9} {each.target or '-':30} {each.changed_at:%Y-%m-%d %H:%M} "
                f"UTC by {each.changed_by}: {each.reason}"
            )

    def switch(
        self,
        action: str,
        scope: str | None,
        target: str | None,
        reason: str,
        by: str,
        yes: bool,
        **options: Any,
    ) -> None:
        if scope is None:
            raise CommandError("Say what: global, surface NAME, or identity user:NAME.")
        wanted = SCOPES[scope]
        named = kill_switch.normalised(wanted, target)
        if not reason.strip():
            raise CommandError("Say why, with --reason.")
        if action == "on" and not yes:
            stops = kill_switch.effect(wanted, named)
            self.stdout.write(
                f"This stops {stops.running} runs that are under way, when they extend or renew, "
                f"and everything like the {stops.runs} runs of the last 24 hours."
            )
            self.confirm("Switch it on?", otherwise="Nothing was stopped.")
        switch, stops = kill_switch.switch(
            wanted,
            target,
            enabled=action == "on",
            reason=reason,
            by=by or command_line(),
        )
        self.stdout.write(
            f"{switch} is switched {action}. It matches {stops.runs} runs of the last 24 hours, "
            f"{stops.running} of them running."
        )
