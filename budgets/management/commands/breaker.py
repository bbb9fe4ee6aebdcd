"""`manage.py breaker`: see, trip and reset circuit breakers."""

from typing import Any

from django.core.management.base import CommandParser

from budgets.accounts.passwords import command_line
from budgets.controls import breaker
from budgets.exceptions import Refused
from budgets.models import CircuitBreaker
from opslog.management.base import Documented
from opslog.pricing.money import usd_text


class Command(Documented):
    refusals = (Refused,)
    examples = (
        "manage.py breaker show",
        'manage.py breaker reset --reason "the loop is fixed"',
    )
    help = "Show, trip or reset the circuit breaker of everything, or of one work order."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=("show", "trip", "reset"))
        parser.add_argument("--work-order", default="", help="its own breaker; default: of all")
        parser.add_argument("--reason", default="", help="why; goes into the log")
        parser.add_argument("--by", default="", help="who; default: the user of this machine")

    def handle(self, *args: Any, **options: Any) -> None:
        subject = options["work_order"]
        scope = CircuitBreaker.Scope.WORK_ORDER if subject else CircuitBreaker.Scope.GLOBAL
        by = options["by"] or command_line()
        if options["action"] == "show":
            self.show()
        elif options["action"] == "trip":
            found = breaker.trip(scope, subject, reason=options["reason"], by=by)
            self.stdout.write(f"Open until {found.half_open_at:%H:%M:%S} UTC, then one probe.")
        else:
            breaker.reset(scope, subject, reason=options["reason"], by=by)
            self.stdout.write("Closed: runs start again.")

    def show(self) -> None:
        now = breaker.committed()
        trips = "never" if now.trips_at is None else f"at ${usd_text(now.trips_at)}"
        usd = f"${usd_text(now.usd)} committed in the last 60 to 65 seconds"
        self.stdout.write(f"{usd}; trips {trips}.")
        for each in breaker.with_due(CircuitBreaker.objects.exclude(subject="*")):
            until = f" until {each.half_open_at:%H:%M:%S} UTC" if each.state == "open" else ""
            until = ", its time is over: the next start probes." if each.due else until
            self.stdout.write(f"{each}: {each.get_state_display()}{until} {each.reason}".rstrip())
