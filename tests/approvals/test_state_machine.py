"""A request's life against a plain-Python model: whatever is done in whatever order, both agree."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from budgets import approvals
from budgets.exceptions import Refused
from budgets.models import CapChange, ChangeRequest
from tests.approvals.people import everybody
from tests.factories import join, make_user, set_caps
from workorders.models import WorkOrder

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
VALUES = [Decimal(usd) for usd in ("1.00", "5.00", "9.99", "10.00", "50.00", "50.01", "80.00")]
BASES = [Decimal(usd) for usd in ("2.00", "3.00", "12.00")]
VOTERS = ("operations", "director", "finance", "vp", "asker", "operations-2")
GROUPS = ("operations", "director", "finance", "vp")


def needed(usd: Decimal) -> set[str]:
    if usd < 10:
        return {"operations"}
    return {"director"} if usd <= 50 else {"finance", "vp"}


class Model:
    """What the design says of one request, in as few words as possible."""

    def __init__(self) -> None:
        self.now = NOON
        self.cap = Decimal("2.00")
        self.member = {name: {name} for name in GROUPS} | {
            "asker": {"operations"},
            "operations-2": {"operations"},
        }
        self.status = ""
        self.old = self.new = Decimal(0)
        self.expires = NOON
        self.approved: dict[str, None] = {}

    @property
    def is_open(self) -> bool:
        return self.status == "pending" and self.now < self.expires

    def touch(self) -> None:
        """Whoever comes too late closes it."""
        if self.status == "pending" and self.now >= self.expires:
            self.status = "expired"

    def ask(self, usd: Decimal) -> bool:
        if usd == self.cap or self.is_open or (usd < self.cap and not self._operator("asker")):
            return False
        self.old, self.new, self.approved = self.cap, usd, {}
        self.expires = self.now + timedelta(hours=24)
        self.status = "pending"
        if usd < self.cap:
            self.cap, self.status = usd, "applied"
        return True

    def edit(self, usd: Decimal) -> bool:
        was_open = self.is_open
        if not was_open:
            self.touch()
            return False
        if usd <= self.cap:
            return False
        self.old, self.new, self.approved = self.cap, usd, {}
        return True

    def vote(self, who: str, approve: bool) -> bool:
        if not self.is_open:
            self.touch()
            return False
        if who == "asker" or who in self.approved or not self.member[who] & needed(self.new):
            return False
        if not approve:
            self.status = "refused"
            return True
        self.approved[who] = None
        if all(any(g in self.member[v] for v in self.approved) for g in needed(self.new)):
            if self.cap == self.old:
                self.status, self.cap = "applied", self.new
            else:
                self.status = "stale"
        return True

    def cancel(self, who: str) -> bool:
        if not self.is_open:
            self.touch()
            return False
        if who != "asker":
            return False
        self.status = "cancelled"
        return True

    def _operator(self, who: str) -> bool:
        return "operations" in self.member[who]


class Life(RuleBasedStateMachine):
    """Everybody is in one group at most, so that a slot is filled by whoever is in its group."""

    def __init__(self) -> None:
        super().__init__()
        self.outer = transaction.atomic()
        self.outer.__enter__()
        self.clock = time_machine.travel(NOON, tick=False)
        self.traveller = self.clock.start()
        self.model = Model()

    def teardown(self) -> None:
        self.clock.stop()
        transaction.set_rollback(True)
        self.outer.__exit__(None, None, None)

    @initialize()
    def begin(self) -> None:
        people = everybody()
        make_user("operations-2", groups=["operations"])
        for name in GROUPS:  # rules that nobody can fill are another test's
            assert people[name].groups.count() == 1
        self.pk = 0

    def tried(self, act: Any) -> bool:
        """What is refused may still have closed the request: that stays."""
        try:
            made = act()
        except Refused:
            return False
        if isinstance(made, ChangeRequest):
            self.pk = made.pk
        return True

    def person(self, name: str) -> User:
        return User.objects.get(username=name)

    @rule(usd=st.sampled_from(VALUES))
    def ask(self, usd: Decimal) -> None:
        if self.model.is_open and usd < self.model.cap:
            return  # a lowering beside an open request is another test's: this follows one request
        done = self.tried(
            lambda: approvals.ask(
                "w1",
                new={"usd_per_day": usd},
                justification="x",
                expected_cost_impact="$1 a day",
                by=self.person("asker"),
            )
        )
        assert done == self.model.ask(usd)

    @rule(usd=st.sampled_from(VALUES))
    def edit(self, usd: Decimal) -> None:
        if not self.pk:
            return
        done = self.tried(
            lambda: approvals.edit(
                self.pk,
                new={"usd_per_day": usd},
                justification="y",
                expected_cost_impact="$1 a day",
                by=self.person("asker"),
            )
        )
        assert done == self.model.edit(usd)

    @rule(who=st.sampled_from(VOTERS), approve=st.integers(0, 4))
    def vote(self, who: str, approve: int) -> None:
        """Four of five approve, so that requests live long enough to be interesting."""
        if not self.pk:
            return
        revision = ChangeRequest.objects.get(pk=self.pk).revision
        done = self.tried(
            lambda: approvals.decide(
                self.pk,
                by=self.person(who),
                decision="approve" if approve else "refuse",
                comment="z",
                seen_revision=revision,
                password_confirmed=True,
            )
        )
        assert done == self.model.vote(who, bool(approve))

    @rule(who=st.sampled_from(VOTERS))
    def cancel(self, who: str) -> None:
        if self.pk and self.model.approved:
            assert self.tried(
                lambda: approvals.cancel(self.pk, by=self.person(who))
            ) == self.model.cancel(who)

    @rule(hours=st.sampled_from([1, 6, 23, 24]))
    def time_passes(self, hours: int) -> None:
        self.model.now += timedelta(hours=hours)
        self.traveller.move_to(self.model.now)

    @rule(who=st.sampled_from(VOTERS), group=st.sampled_from([*GROUPS, ""]))
    def moves_to_another_group(self, who: str, group: str) -> None:
        self.person(who).groups.clear()
        if group:
            join(self.person(who), group)
        self.model.member[who] = {group} if group else set()

    @rule(usd=st.sampled_from(BASES))
    def base_cap_moves(self, usd: Decimal) -> None:
        set_caps(WorkOrder.objects.get(pk="w1"), 100, usd)
        self.model.cap = usd

    @invariant()
    def both_agree(self) -> None:
        if not self.pk:
            return
        request = ChangeRequest.objects.get(pk=self.pk)
        assert request.status == self.model.status
        assert (request.decided_at is None) == (request.status == "pending")
        assert WorkOrder.objects.get(pk="w1").usd_per_day == self.model.cap
        applied = CapChange.objects.filter(request__isnull=False).count()
        assert applied == ChangeRequest.objects.filter(status="applied").count()
        assert ChangeRequest.objects.filter(status="pending").count() <= 1


@pytest.mark.django_db
def test_a_request_lives_as_the_design_says() -> None:
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=30,
            stateful_step_count=25,
            suppress_health_check=list(HealthCheck),
        ),
    )
