"""`manage.py llm_budget`: the day's LLM budget, and its scenarios played where nothing is real."""

from decimal import Decimal
from typing import Any

import httpx2
from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser

from budgets.admission import direct_spend
from budgets.models import Budget
from budgets.usage import redis_mirror
from opslog.database.another_database import connected_to, scratch_service
from opslog.exceptions import Unavailable
from opslog.management.base import Documented
from workorders import tokens

SCENARIOS = {
    "normal": (Decimal(5), "OK"),
    "warning": (Decimal(22), "WARNING"),
    "blocked": (Decimal(52), "BLOCKED"),
}


class Command(Documented):
    examples = ("manage.py llm_budget check",)
    exits = {1: "the database does not answer, or a scenario ended otherwise than expected"}
    help = (
        "check: the real day, as GET /v1/admin/llm-budget shows it. normal, warning, blocked: $5, "
        "$22 and $52 spent over HTTP against a server with a database of its own, in which only "
        "the day is limited. full: all three. reset: a fresh one, at $0. The real day's figures "
        "are never touched."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=("check", *SCENARIOS, "full", "reset"))

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        if action == "check":
            try:
                self.show(direct_spend.day_status())
            except Unavailable as error:
                raise CommandError(f"The database does not answer: {error}") from None
            return
        names = list(SCENARIOS) if action == "full" else [action]
        for name in names:
            self.play(name)

    def play(self, name: str) -> None:
        """Every scenario begins with a database that knows of nothing."""
        usd, wanted = SCENARIOS.get(name, (Decimal(0), "OK"))
        with scratch_service(workers=1, threads=2) as service:
            with connected_to(service.database):
                _, text = tokens.create(
                    name="llm_budget",
                    scopes=["start", "admin"],
                    owner=User.objects.create_user("llm_budget"),
                    by="llm_budget",
                )
                # What else would stop $22 at once, the breaker and the hour, would hide the limit.
                Budget.objects.exclude(window=Budget.Window.DAY).update(
                    amount=None, warning_amount=None
                )
            headers = {"x-api-key": text}
            with httpx2.Client(base_url=service.url, headers=headers, timeout=30) as client:
                if usd:
                    response = client.post("/v1/llm/spend", json={"costUsd": str(usd)})
                    response.raise_for_status()
                found = client.get("/v1/admin/llm-budget").raise_for_status().json()
                advice = client.post("/v1/llm/check", json={"estimatedCostUsd": "0.01"}).json()
        self.stdout.write(
            f"{name:8} ${usd:>5} spent → {found['status']:8} {found['message']}; one more call: "
            f"{'advised' if advice['allowed'] else advice['denial']}"
        )
        if found["status"] != wanted:
            raise CommandError(f"{name}: {wanted} was expected.", returncode=1)

    def show(self, day: direct_spend.DayStatus) -> None:
        data = direct_spend.as_numbers(day) | {"redis_unavailable": redis_mirror.is_unavailable()}
        message = data.pop("message")
        for name, value in data.items():
            self.stdout.write(f"{name:24} {value}")
        self.stdout.write(message)
