"""What a request changes the limits of. Requests are built over "a limit of a subject": a further
kind of subject is a class here, and an entry in KINDS."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, ClassVar

from django.utils import timezone

from budgets.audit import acting
from budgets.exceptions import Refused
from budgets.models import (
    ApprovalLimit,
    Budget,
    CapChange,
    ChangeRequest,
    FeatureControl,
    Measure,
)
from budgets.writing import HOLD_COUNTERS
from opslog.database import query
from workorders.models import ServiceToken, WorkOrder

Values = dict[str, Decimal]

CENT = Decimal("0.01")
ONE = Decimal(1)
WORK_ORDER = "work_order"
CAPS = (Measure.RUNS_PER_DAY, Measure.USD_PER_DAY, Measure.MAX_CONCURRENT_RUNS)
# measure → smallest step, highest value
BOUNDS: dict[str, tuple[Decimal, Decimal]] = {
    Measure.RUNS_PER_DAY: (ONE, Decimal(10_000_000)),
    Measure.USD_PER_DAY: (CENT, Decimal(1_000_000)),
    Measure.MAX_CONCURRENT_RUNS: (ONE, Decimal(10_000)),
    Measure.SHARED_LIMIT: (ONE, Decimal(1_000_000_000)),
    Measure.FEATURE_THROTTLE: (ONE, Decimal(1_000_000)),
    Measure.FEATURE_COST_CAP: (CENT, Decimal(1_000_000)),
    Measure.MAX_RUN_USD: (CENT, Decimal(1_000_000)),
}


class Subject:
    """Something with limits, its row locked. `only_raises`: lowering is done elsewhere, by an
    operator at once, and a raise is for good. `is_counted`: a change takes the lock of all that is
    counted, which comes before that of the row."""

    model: ClassVar[Any]
    kind: ClassVar[str]
    event: ClassVar[str] = "LIMIT_RAISED"
    only_raises: ClassVar[bool] = True
    is_counted: ClassVar[bool] = False

    def __init__(self, row: Any) -> None:
        self.row = row

    @classmethod
    def lock(cls, subject_id: str) -> "Subject":
        """NO KEY: a run's foreign key check must not wait for an approval (docs/locking.md)."""
        if cls.is_counted:
            query.run(HOLD_COUNTERS)
        return cls(cls.model.objects.select_for_update(no_key=True).get(pk=subject_id))

    @property
    def label(self) -> str:
        return str(self.row)

    def may_change(self) -> None:
        """Raises Refused where its limits are of no use now."""

    def values(self) -> Values:
        """Of the limits that it has: what is not limited cannot be raised."""
        raise NotImplementedError

    def checked(self, measure: str, given: Decimal | int) -> Decimal:
        return checked(measure, given)

    def write(
        self, new: Mapping[str, Decimal], *, request: ChangeRequest, reason: str, by: str
    ) -> None:
        with acting(by=by, reason=reason):
            self.model.objects.filter(pk=self.row.pk).update(amount=new[Measure.SHARED_LIMIT])


class WorkOrderCaps(Subject):
    model = WorkOrder
    kind = WORK_ORDER
    event = "WORK_ORDER_CAP_CHANGE"
    only_raises = False

    @property
    def label(self) -> str:
        return str(self.row.title)

    def may_change(self) -> None:
        if self.row.status == WorkOrder.Status.ARCHIVED:
            raise Refused("An archived work order has no use for other caps.")

    def values(self) -> Values:
        return {measure: Decimal(getattr(self.row, measure)) for measure in CAPS}

    def write(
        self, new: Mapping[str, Decimal], *, request: ChangeRequest, reason: str, by: str
    ) -> None:
        """The proof that the trigger asks for, then the caps."""
        old = self.values()
        wanted = old | dict(new)
        concurrent = Measure.MAX_CONCURRENT_RUNS in new
        CapChange.objects.create(
            wo=self.row,
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
        WorkOrder.objects.filter(pk=self.row.pk).update(
            runs_per_day=int(wanted[Measure.RUNS_PER_DAY]),
            usd_per_day=wanted[Measure.USD_PER_DAY],
            max_concurrent_runs=int(wanted[Measure.MAX_CONCURRENT_RUNS]),
        )


class SharedLimit(Subject):
    model = Budget
    kind = "budget"
    is_counted = True

    def may_change(self) -> None:
        if self.row.amount is None:
            raise Refused("It limits nothing now: a limit is set on its page, at once.")

    def values(self) -> Values:
        return {Measure.SHARED_LIMIT: self.row.amount or Decimal(0)}

    def checked(self, measure: str, given: Decimal | int) -> Decimal:
        return checked(measure, given, in_usd=self.row.measure == Budget.Measure.USD)


class FeatureLimits(Subject):
    """The throttle and the cost cap of one feature."""

    model = FeatureControl
    kind = "feature"
    is_counted = True
    fields: ClassVar[dict[str, str]] = {
        Measure.FEATURE_THROTTLE: "requests_per_period",
        Measure.FEATURE_COST_CAP: "cost_cap_usd",
    }

    @property
    def label(self) -> str:
        return f"feature {self.row.feature}"

    def may_change(self) -> None:
        if not self.values():
            raise Refused("It has no throttle and no cost cap: one is set on its page, at once.")

    def values(self) -> Values:
        found = {measure: getattr(self.row, name) for measure, name in self.fields.items()}
        return {measure: Decimal(value) for measure, value in found.items() if value is not None}

    def write(
        self, new: Mapping[str, Decimal], *, request: ChangeRequest, reason: str, by: str
    ) -> None:
        with acting(by=by, reason=reason):
            FeatureControl.objects.filter(pk=self.row.pk).update(
                **{self.fields[measure]: value for measure, value in new.items()},
                reason=reason,
                changed_by=by,
                changed_at=timezone.now(),
            )


class OwnLimit(Subject):
    """How far one person or token goes alone: one row of `approval_limits`."""

    model = ApprovalLimit
    kind = "approval_limit"

    def values(self) -> Values:
        return {Measure.SHARED_LIMIT: self.row.amount}

    def checked(self, measure: str, given: Decimal | int) -> Decimal:
        return checked(measure, given, in_usd=self.row.is_usd)


class TokenCeiling(Subject):
    """What a run may cost by the word of one token."""

    model = ServiceToken
    kind = "service_token"

    @property
    def label(self) -> str:
        return f"token {self.row}"

    def may_change(self) -> None:
        if self.row.revoked_at is not None:
            raise Refused("A revoked token has no use for another ceiling.")

    def values(self) -> Values:
        return {Measure.MAX_RUN_USD: self.row.max_run_usd}

    def write(
        self, new: Mapping[str, Decimal], *, request: ChangeRequest, reason: str, by: str
    ) -> None:
        ServiceToken.objects.filter(pk=self.row.pk).update(max_run_usd=new[Measure.MAX_RUN_USD])


KINDS: dict[str, type[Subject]] = {
    each.kind: each for each in (WorkOrderCaps, SharedLimit, FeatureLimits, OwnLimit, TokenCeiling)
}


def caps_of(work_order: WorkOrder) -> Values:
    """Its base caps, by measure."""
    return WorkOrderCaps(work_order).values()


def lock(kind: str, subject_id: str) -> Subject:
    return KINDS[kind].lock(subject_id)


def names_of(requests: Iterable[ChangeRequest]) -> dict[tuple[str, str], str]:
    """What people call the subjects that are still there, by (type, id); a work order by its id.
    Four queries at most, whatever the number of requests."""
    keys = {(each.subject_type, each.subject_id) for each in requests}
    names = {(of, pk): pk for of, pk in keys if of == WORK_ORDER}
    for kind, subject in KINDS.items():
        ids = [pk for of, pk in keys if of == kind != WORK_ORDER]
        for row in subject.model.objects.filter(pk__in=ids) if ids else ():
            names[kind, str(row.pk)] = subject(row).label
    return names


def name_of(request: ChangeRequest, names: Mapping[tuple[str, str], str] | None = None) -> str:
    """What people call its subject, also where that is gone."""
    if names is None:
        names = names_of([request])
    key = (request.subject_type, request.subject_id)
    limits = (SharedLimit.kind, OwnLimit.kind)
    word = "limit" if request.subject_type in limits else request.subject_type
    return names.get(key, f"{word} {request.subject_id}")


def checked(measure: str, given: Decimal | int, *, in_usd: bool = False) -> Decimal:
    """A value that the measure can have; `in_usd`: in whole cents, whatever the measure. Raises
    Refused."""
    if measure not in BOUNDS:
        raise Refused(f"There is no limit {measure}.")
    smallest, highest = BOUNDS[measure]
    step = CENT if in_usd else smallest
    value = Decimal(given)
    if not value.is_finite() or not 0 < value <= highest or value % step:
        raise Refused(f"{Measure(measure).label}: a multiple of {step}, up to {highest}.")
    return value
