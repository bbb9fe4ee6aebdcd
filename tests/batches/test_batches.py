"""Many asks in one call are answered as one by one, whatever is among them."""

from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from budgets import admission
from budgets.admission import FinishTold
from budgets.admission.batches import Ask
from budgets.admission.direct_spend import Attribution, SpendTold, spend_fields
from tests import factories
from tests.admission.desk import Desk, run_of
from tests.batches.asks import decide, start
from workorders.models import Run

pytestmark = pytest.mark.django_db


def finish(desk: Desk, run: str, usd: str = "0.05") -> Ask:
    report = FinishTold("success", Decimal(usd))
    return Ask("finish", admission.finish_fields(UUID(run), report, caller=desk.caller))


def test_a_finish_makes_room_for_a_start_before_it() -> None:
    factories.make_work_order("w1", max_concurrent_runs=1)
    desk = Desk()
    run = run_of(desk.start())
    answers = decide([start(desk), finish(desk, run)])
    assert [each.status for each in answers] == [201, 200]


def test_each_is_answered_by_its_place() -> None:
    factories.make_work_order("w1", usd_per_day="0.25", max_concurrent_runs=9)
    desk = Desk()
    spend = spend_fields(SpendTold(Attribution(), Decimal("0.01")), caller=desk.caller)
    asks = [
        start(desk),
        Ask("spend", spend),
        start(desk, wo="nowhere"),
        start(desk, key="k"),
        start(desk),
        start(desk, key="k"),
        finish(desk, str(uuid4())),
    ]
    outcomes = [(each.status, each.denial, each.replayed) for each in decide(asks)]
    assert outcomes == [
        (201, "", False),
        (200, "", False),
        (404, "unknown_work_order", False),
        (201, "", False),
        (429, "usd_per_day", False),
        (201, "", True),
        (404, "unknown_run", False),
    ]
    assert Run.objects.count() == 2


def test_one_that_fails_is_handed_back_and_spoils_no_other() -> None:
    factories.make_work_order("w1", max_concurrent_runs=9)
    desk = Desk()
    broken = start(desk)
    broken.fields["lease"] = -1  # no row can hold that
    outcomes = [(each.status, each.denial) for each in decide([start(desk), broken, start(desk)])]
    assert outcomes == [(201, ""), (0, "alone"), (201, "")]
