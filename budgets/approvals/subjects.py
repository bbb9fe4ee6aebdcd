"""What a request changes the limits of. Requests are built over "a limit of a subject": a further
kind of subject is a class here with these methods, and an entry in KINDS."""

from collections.abc import Mapping
from decimal import Decimal

from budgets.exceptions import Refused
from budgets.models import CapChange, ChangeRequest, Measure
from workorders.models import WorkOrder

Values = dict[str, Decimal]

CENT = Decimal("0.01")
ONE = Decimal(1)
# measure → smallest step, highest value
BOUNDS: dict[str, tuple[Decimal, Decimal]] = {
    Measure.RUNS_PER_DAY: (ONE, Decimal(10_000_000)),
    Measure.USD_PER_DAY: (CENT, Decimal(1_000_000)),
    Measure.MAX_CONCURRENT_RUNS: (ONE, Decimal(10_000)),
}


class WorkOrderCaps:
    """The caps of one work order, its row locked."""

    kind = "work_order"

    def __init__(self, work_order: WorkOrder) -> None:
        self.work_order = work_order

    @classmethod
    def lock(cls, subject_id: str) -> "WorkOrderCaps":
        """NO KEY: a run's foreign key check must not wait for an approval (docs/locking.md)."""
        return cls(WorkOrder.objects.select_for_update(no_key=True).get(pk=subject_id))

    @property
    def label(self) -> str:
        return self.work_order.title

    def may_change(self) -> None:
        if self.work_order.status == WorkOrder.Status.ARCHIVED:
            raise Refused("An archived work order has no use for other caps.")

    def values(self) -> Values:
        return {
            Measure.RUNS_PER_DAY: Decimal(self.work_order.runs_per_day),
            Measure.USD_PER_DAY: self.work_order.usd_per_day,
            Measure.MAX_CONCURRENT_RUNS: Decimal(self.work_order.max_concurrent_runs),
        }

    def write(
        self, new: Mapping[str, Decimal], *, request: ChangeRequest, reason: str, by: str
    ) -> None:
        """The proof that the trigger asks for, then the caps."""
        old = self.values()
        wanted = old | dict(new)
        concurrent = Measure.MAX_CONCURRENT_RUNS in new
        CapChange.objects.create(
            wo=self.work_order,
            request=request,
            old_runs_per_day=int(old[Measure.RUNS_PER_DAY]),
            new_runs_per_day=int(wanted[Measure.RUNS_PER_DAY]),
            old_usd_per_day=old[Measure.USD_PER_DAY],
            new_usd_per_day=wanted[Measure.USD_PER_DAY],
            old_max_concurrent_runs=int(old[Measure.MAX_CONCURRENT_RUNS]) if concurrent else None,
            new_max_concurrent_runs=(
                int(wanted[Measure.MAX_CONCURRENT_RUNS]) if concurrent else None
            ),
            reason=reason,
            by=by,
        )
        WorkOrder.objects.filter(pk=self.work_order.pk).update(
            runs_per_day=int(wanted[Measure.RUNS_PER_DAY]),
            usd_per_day=wanted[Measure.USD_PER_DAY],
            max_concurrent_runs=int(wanted[Measure.MAX_CONCURRENT_RUNS]),
        )


def caps_of(work_order: WorkOrder) -> Values:
    """Its base caps, by measure."""
    return WorkOrderCaps(work_order).values()


KINDS = {WorkOrderCaps.kind: WorkOrderCaps}


def lock(kind: str, subject_id: str) -> WorkOrderCaps:
    return KINDS[kind].lock(subject_id)


def checked(measure: str, told: Decimal | int) -> Decimal:
    """A value that the measure can have. Raises Refused."""
    if measure not in BOUNDS:
        raise Refused(f"There is no limit {measure}.")
    step, highest = BOUNDS[measure]
    value = Decimal(told)
    if not value.is_finite() or not 0 < value <= highest or value % step:
        raise Refused(f"{Measure(measure).label}: a multiple of {step}, up to {highest}.")
    return value
