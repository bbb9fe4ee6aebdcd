"""One suite for the fake Tollgate and the real service: what programs may rely on in their tests
is what they get."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from client.python.tollgate_client import (
    AlreadyEnded,
    AsyncTollgate,
    InvalidRequest,
    Refused,
    Run,
    Tollgate,
    Unavailable,
    Usage,
    current_run,
)
from client.python.tollgate_client.pytest_plugin import tollgate_fake  # noqa: F401
from client.python.tollgate_client.testing import FakeTollgate

from .harness import CONTRACT, QUICK, Real

MINI = "gpt-4o-mini"
NUMBERS = itertools.count()


@dataclass
class Service:
    """Three runs and $1.00 a day, two runs at the same time; gpt-4o-mini has its price."""

    url: str
    token: str
    order: str
    kill: Callable[[bool], None]
    end_leases: Callable[[], None]
    client: Tollgate = field(init=False)

    def run(self, **options: Any) -> Run:
        usual: dict[str, Any] = {"estimated_cost_usd": "0.10", "patience": 0.0}
        return self.client.run(self.order, **(usual | options))

    def refused(self, **options: Any) -> Refused:
        with pytest.raises(Refused) as caught:
            self.run(**options).__enter__()
        return caught.value


def real_one(real: Real) -> Service:
    order = CONTRACT[next(NUMBERS)]

    def end_leases() -> None:
        real.sql("UPDATE work_order_runs SET lease_expires_at = now() WHERE wo_id = %s", order)

    return Service(real.url, real.token, order, lambda on: real.kill(on=on), end_leases)


def fake_one(fake: FakeTollgate) -> Service:
    fake.work_order("contract", usd_per_day="1.00", runs_per_day=3, prices={MINI: (0.15, 0.60)})

    def kill(on: bool) -> None:
        fake.stop() if on else fake.lift()

    return Service(fake.url, fake.token, "contract", kill, lambda: fake.advance(hours=1))


@pytest.fixture(params=["fake", "real"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    if request.param == "real":
        service = real_one(request.getfixturevalue("real"))
        yield from served(service)
    else:
        with FakeTollgate() as fake:
            yield from served(fake_one(fake))


def served(service: Service) -> Iterator[Service]:
    with Tollgate(service.url, service.token, agent="digest-1", retry=QUICK) as client:
        service.client = client
        yield service


def test_a_run_and_its_settlement(service: Service) -> None:
    with service.run() as run:
        admission = run.admission
        assert (admission.work_order_id, admission.status) == (service.order, "running")
        assert (admission.caps.runs_per_day, admission.caps.usd_per_day) == (3, Decimal(1))
        assert (admission.usage.runs_today, admission.usage.open_runs) == (1, 1)
        assert admission.usage.usd_today == Decimal("0.10")
        assert run.extend("0.05").reserved_usd == Decimal("0.15")
        run.spent(cost_usd="0.20")
    settlement = run.settlement
    assert settlement is not None
    assert (settlement.status, settlement.cost_usd) == ("success", Decimal("0.20"))
    assert (settlement.reserved_usd, settlement.overrun_usd) == (Decimal("0.15"), Decimal("0.05"))
    assert settlement.started_at <= settlement.finished_at
    assert [each["runId"] for each in service.client.runs(service.order)] == [run.id]
    assert service.order in [each["id"] for each in service.client.work_orders()]


def test_usage_is_priced(service: Service) -> None:
    with service.run() as run:
        run.spent(Usage(model=MINI, input_tokens=1000, output_tokens=200))
    assert run.settlement is not None
    assert run.settlement.cost_usd == Decimal("0.00027")
    with service.run() as run:
        run.spent(Usage(model="a-model-of-nobody", input_tokens=1000, output_tokens=200))
    assert run.settlement is not None
    assert round(run.settlement.cost_usd, 6) == Decimal("0.333333")  # $1.00 for three runs
    with service.run() as run:
        run.spent(Usage(model=MINI, input_tokens=1000, output_tokens=200))
        run.spent(cost_usd="0.01")
    assert run.settlement is not None
    assert run.settlement.cost_usd == Decimal("0.01027")


def test_a_model_and_tokens_are_an_estimate(service: Service) -> None:
    options: dict[str, Any] = {
        "estimated_cost_usd": None,
        "model": MINI,
        "estimated_input_tokens": 1_000_000,
        "estimated_output_tokens": 100_000,
    }
    with service.run(**options) as run:
        assert run.reserved_usd == Decimal("0.21")
        run.cancel()
    assert run.settlement is not None
    assert (run.settlement.status, run.settlement.cost_usd) == ("cancelled", Decimal(0))
    assert service.refused(**options | {"model": "a-model-of-nobody"}).denial == "unpriced_model"


def test_the_cap_of_runs(service: Service) -> None:
    for _ in range(3):
        with service.run() as run:
            run.cancel()
    refusal = service.refused()
    assert (refusal.status, refusal.denial) == (429, "runs_per_day")
    assert refusal.error == "runs/day cap reached"
    assert refusal.retry_after == 86400
    assert refusal.reset_at is not None
    assert (refusal.reset_at.hour, refusal.reset_at.minute) == (0, 0)
    assert service.refused().remembered


def test_the_cap_of_dollars(service: Service) -> None:
    refusal = service.refused(estimated_cost_usd="1.01")
    assert (refusal.denial, refusal.error) == ("usd_per_day", "budget cap reached")
    with service.run(estimated_cost_usd="0.60") as run:
        with pytest.raises(Refused, match="budget cap reached"):
            run.extend("0.41")
        run.spent(cost_usd="1.00")
    # At a limit that is used up nothing is admitted.
    assert service.refused(estimated_cost_usd="0").denial == "usd_per_day"


def test_concurrent_runs(service: Service) -> None:
    with service.run() as one, service.run() as two:
        refusal = service.refused()
        assert (refusal.denial, refusal.retry_after) == ("concurrency", 5)
        assert not refusal.remembered
        one.cancel()
        two.cancel()
    with service.run() as three:
        three.cancel()


def test_who_waits_for_room_gets_it(service: Service) -> None:
    async def main() -> None:
        async with AsyncTollgate(service.url, service.token, agent="digest-1") as tollgate:

            async def work() -> None:
                async with tollgate.run(service.order, estimated_cost_usd="0.01") as run:
                    run.spent(cost_usd="0.01")
                assert run.settlement is not None

            await asyncio.gather(*(work() for _ in range(3)))

    asyncio.run(main())


def test_an_idempotency_key(service: Service) -> None:
    with service.run(idempotency_key="job-1") as first:
        with service.run(idempotency_key="job-1") as again:
            assert again.id == first.id
            assert again.admission.replayed
            again.spent(cost_usd="0.03")
        first.spent(cost_usd="0.03")
    with pytest.raises(AlreadyEnded) as caught:
        service.run(idempotency_key="job-1").__enter__()
    assert (caught.value.status, caught.value.cost_usd) == ("success", Decimal("0.03"))
    other = service.refused(idempotency_key="job-1", estimated_cost_usd="0.20")
    assert (other.status, other.denial) == (422, "idempotency_key")


def test_a_finish_is_repeated_and_not_changed(service: Service) -> None:
    with service.run() as run:
        run.spent(cost_usd="0.03")
    client = service.client
    assert client.finish(run.id, status="success", cost_usd="0.03").cost_usd == Decimal("0.03")
    with pytest.raises(Refused) as caught:
        client.finish(run.id, status="success", cost_usd="0.04")
    assert caught.value.status == 409
    with pytest.raises(Refused) as caught:
        client.finish("0197f3a0-0000-7000-8000-000000000001", status="success", cost_usd=1)
    assert caught.value.status == 404
    with pytest.raises(Refused) as ended:
        client.extend(run.id, lease_seconds=60)
    assert (ended.value.status, ended.value.denial) == (409, "run_ended")


def test_a_lease_that_is_over(service: Service) -> None:
    run = service.run().__enter__()
    service.end_leases()
    with pytest.raises(Refused) as caught:
        service.client.do(service.client.core.extend(run.id, lease_seconds=60))
    assert (caught.value.status, caught.value.denial) == (409, "run_ended")
    run.spent(cost_usd="0.02")
    run.__exit__(None, None, None)  # a finish that comes later corrects it
    assert run.settlement is not None
    assert run.settlement.cost_usd == Decimal("0.02")


def test_a_kill_switch(service: Service) -> None:
    with service.run() as run:
        service.kill(True)
        try:
            assert service.refused().denial == "kill_switch"
            with pytest.raises(Refused) as caught:
                service.client.extend(run.id, lease_seconds=60)
            assert (caught.value.status, caught.value.denial) == (403, "kill_switch")
            run.spent(cost_usd="0.01")
        finally:
            service.kill(False)
    assert run.settlement is not None


def test_what_is_wrong_with_a_request(service: Service) -> None:
    with pytest.raises(Refused) as unknown:
        service.client.run("nobody-knows-it").__enter__()
    assert (unknown.value.status, unknown.value.denial) == (404, "unknown_work_order")
    with Tollgate(service.url, "tg_wrong", agent="digest-1") as stranger:
        with pytest.raises(Refused) as caught:
            stranger.run(service.order).__enter__()
        assert (caught.value.status, caught.value.denial) == (401, "token")
    broken = Usage(model=MINI, input_tokens=1, cached_input_tokens=2, output_tokens=1)
    with service.run() as run:
        with pytest.raises(InvalidRequest) as invalid:
            service.client.finish(run.id, status="success", usage=broken)
        assert invalid.value.status == 400
        run.cancel()


def test_a_dry_run(service: Service) -> None:
    decision = service.client.dry_run(service.order, estimated_cost_usd="0.10")
    assert (decision.admitted, decision.reason) == (True, None)
    assert decision.would_reserve_usd == Decimal("0.10")
    decision = service.client.dry_run(service.order, estimated_cost_usd="1.01")
    assert (decision.admitted, decision.reason) == (False, "usd_per_day")
    confirm = service.refused(estimated_cost_usd="5.01")
    assert confirm.denial == "usd_per_day"  # the caps come first
    assert not list(service.client.runs(service.order))


# What only the fake has.


def report() -> str:
    """A program that is tested."""
    tollgate = Tollgate()

    @tollgate.governed("weekly-report", estimated_cost_usd="0.05")
    def work() -> str:
        run = current_run()
        assert run is not None
        run.spent(cost_usd="0.031")
        return "a report"

    try:
        return work()
    except Refused as refusal:
        return f"refused: {refusal.denial}"
    except Unavailable:
        return "unavailable"
    finally:
        tollgate.close()


def test_the_fixture(tollgate_fake: FakeTollgate) -> None:  # noqa: F811
    tollgate_fake.work_order("weekly-report", runs_per_day=3)
    assert report() == "a report"
    (run,) = tollgate_fake.runs
    assert (run.status, run.cost_usd, run.agent) == ("success", Decimal("0.031"), "test")
    tollgate_fake.refuse("usd_per_day", after=1)
    assert [report(), report()] == ["a report", "refused: usd_per_day"]
    tollgate_fake.lift()
    tollgate_fake.stop()
    assert report() == "refused: kill_switch"
    tollgate_fake.lift()
    assert [report(), report()] == ["a report", "refused: runs_per_day"]
    tollgate_fake.advance(days=1)
    assert report() == "a report"


def test_an_outage(
    tollgate_fake: FakeTollgate,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("random.Random.uniform", lambda self, low, high: 0.0)
    tollgate_fake.work_order("weekly-report")
    with tollgate_fake.outage():
        assert report() == "unavailable"
    assert report() == "a report"


def test_a_run_that_is_left_open_is_noticed() -> None:
    with FakeTollgate() as fake:
        fake.work_order("weekly-report")
        with Tollgate(fake.url, fake.token, agent="test") as tollgate:
            run = tollgate.run("weekly-report", lease_seconds=600).__enter__()
            with pytest.raises(AssertionError, match=run.id):
                fake.assert_all_settled()
            fake.advance(minutes=11)
            with pytest.raises(AssertionError, match=run.id):
                fake.assert_all_settled()
            assert fake.runs[0].lease == timedelta(minutes=10)
            run.__exit__(None, None, None)
            fake.assert_all_settled()
