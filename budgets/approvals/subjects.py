"""What a request changes the limits of. Requests are built over "a limit of a subject": a further
kind of subject is a class here with these methods, and an entry in KINDS."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import ClassVar, Protocol

from django.utils import timezone

from budgets.acting import acting
from budgets.exceptions import Refused
from budgets.models import (
    ApprovalLimit,
    Budget,
    CapChange,
    ChangeRequest,
    FeatureControl,
    Measure,
)
from budgets.writing import HOLD_COUNTERS, hold
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


class Subject(Protocol):
    """Something with limits, locked. `only_raises`: lowering is done elsewhere, by an operator at
    once, and a raise is for good."""

    kind: ClassVar[str]
    event: ClassVar[str]
    only_raises: ClassVar[bool]

    @property
    def label(self) -> str: ...
    def may_change(self) -> None: ...
    def values(self) -> Values: ...
    def checked(self, measure: str, told: Decimal | int) -> Decimal: ...
    def write(
        self, new: Mapping[str, Decimal], *, request: ChangeRequest, reason: str, by: str
    ) -> None: ...


class WorkOrderCaps:
    """The caps of one work order, its row locked."""

    kind: ClassVar[str] = WORK_ORDER
    event: ClassVar[str] = "WORK_ORDER_CAP_CHANGE"
    only_raises: ClassVar[bool] = False

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

    def checked(self, measure: str, told: Decimal | int) -> Decimal:
        return checked(measure, told)

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


class SharedLimit:
    """One row of `budgets`, locked."""

    kind: ClassVar[str] = "budget"
    event: ClassVar[str] = "LIMIT_RAISED"
    only_raises: ClassVar[bool] = True

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    @classmethod
    def lock(cls, subject_id: str) -> "SharedLimit":
        hold(HOLD_COUNTERS)
        return cls(Budget.objects.select_for_update(no_key=True).get(pk=subject_id))

    @property
    def label(self) -> str:
        return str(self.budget)

    def may_change(self) -> None:
        if self.budget.amount is None:
            raise Refused("It limits nothing now: a limit is set on its page, at once.")

    def values(self) -> Values:
        return {Measure.SHARED_LIMIT: self.budget.amount or Decimal(0)}

    def checked(self, measure: str, told: Decimal | int) -> Decimal:
        step = CENT if self.budget.measure == Budget.Measure.USD else ONE
        return checked(measure, told, step=step)

    def write(
        self, new: Mapping[str, Decimal], *, request: ChangeRequest, reason: str, by: str
    ) -> None:
        with acting(by=by, reason=reason):
            Budget.objects.filter(pk=self.budget.pk).update(amount=new[Measure.SHARED_LIMIT])


class FeatureLimits:
    """The throttle and the cost cap of one feature, the row of its control locked."""

    kind: ClassVar[str] = "feature"
    event: ClassVar[str] = "LIMIT_RAISED"
    only_raises: ClassVar[bool] = True
    fields: ClassVar[dict[str, str]] = {
        Measure.FEATURE_THROTTLE: "requests_per_period",
        Measure.FEATURE_COST_CAP: "cost_cap_usd",
    }

    def __init__(self, control: FeatureControl) -> None:
        self.control = control

    @classmethod
    def lock(cls, subject_id: str) -> "FeatureLimits":
        hold(HOLD_COUNTERS)
        return cls(FeatureControl.objects.select_for_update(no_key=True).get(pk=subject_id))

    @property
    def label(self) -> str:
        return f"feature {self.control.feature}"

    def may_change(self) -> None:
        if not self.values():
            raise Refused("It has no throttle and no cost cap: one is set on its page, at once.")

    def values(self) -> Values:
        """Of what it has: what is not limited cannot be raised."""
        told = {measure: getattr(self.control, name) for measure, name in self.fields.items()}
        return {measure: Decimal(value) for measure, value in told.items() if value is not None}

    def checked(self, measure: str, told: Decimal | int) -> Decimal:
        return checked(measure, told)

    def write(
        self, new: Mapping[str, Decimal], *, request: ChangeRequest, reason: str, by: str
    ) -> None:
        with acting(by=by, reason=reason):
            FeatureControl.objects.filter(pk=self.control.pk).update(
                **{self.fields[measure]: value for measure, value in new.items()},
                reason=reason,
                changed_by=by,
                changed_at=timezone.now(),
            )


class OwnLimit:
    """How far one person or token goes alone: one row of `approval_limits`, locked."""

    kind: ClassVar[str] = "approval_limit"
    event: ClassVar[str] = "LIMIT_RAISED"
    only_raises: ClassVar[bool] = True

    def __init__(self, limit: ApprovalLimit) -> None:
        self.limit = limit

    @classmethod
    def lock(cls, subject_id: str) -> "OwnLimit":
        return cls(ApprovalLimit.objects.select_for_update(no_key=True).get(pk=subject_id))

    @property
    def label(self) -> str:
        return str(self.limit)

    def may_change(self) -> None:
        return

    def values(self) -> Values:
        return {Measure.SHARED_LIMIT: self.limit.amount}

    def checked(self, measure: str, told: Decimal | int) -> Decimal:
        return checked(measure, told, step=CENT if self.limit.is_usd else ONE)

    def write(
        self, new: Mapping[str, Decimal], *, request: ChangeRequest, reason: str, by: str
    ) -> None:
        with acting(by=by, reason=reason):
            ApprovalLimit.objects.filter(pk=self.limit.pk).update(amount=new[Measure.SHARED_LIMIT])


class TokenCeiling:
    """What a run may cost by the word of one token, its row locked."""

    kind: ClassVar[str] = "service_token"
    event: ClassVar[str] = "LIMIT_RAISED"
    only_raises: ClassVar[bool] = True

    def __init__(self, token: ServiceToken) -> None:
        self.token = token

    @classmethod
    def lock(cls, subject_id: str) -> "TokenCeiling":
        return cls(ServiceToken.objects.select_for_update(no_key=True).get(pk=subject_id))

    @property
    def label(self) -> str:
        return f"token {self.token}"

    def may_change(self) -> None:
        if self.token.revoked_at is not None:
            raise Refused("A revoked token has no use for another ceiling.")

    def values(self) -> Values:
        return {Measure.MAX_RUN_USD: self.token.max_run_usd}

    def checked(self, measure: str, told: Decimal | int) -> Decimal:
        return checked(measure, told)

    def write(
        self, new: Mapping[str, Decimal], *, request: ChangeRequest, reason: str, by: str
    ) -> None:
        ServiceToken.objects.filter(pk=self.token.pk).update(max_run_usd=new[Measure.MAX_RUN_USD])


Kind = (
    type[WorkOrderCaps]
    | type[SharedLimit]
    | type[FeatureLimits]
    | type[OwnLimit]
    | type[TokenCeiling]
)
KINDS: dict[str, Kind] = {
    each.kind: each for each in (WorkOrderCaps, SharedLimit, FeatureLimits, OwnLimit, TokenCeiling)
}


def caps_of(work_order: WorkOrder) -> Values:
    """Its base caps, by measure."""
    return WorkOrderCaps(work_order).values()


def lock(kind: str, subject_id: str) -> Subject:
    return KINDS[kind].lock(subject_id)


def names_of(requests: Iterable[ChangeRequest]) -> dict[tuple[str, str], str]:
    """What people call the subjects that are still there, by (type, id); a work order by its id.
    Three queries at most, whatever the number of requests."""
    keys = {(each.subject_type, each.subject_id) for each in requests}
    ids = {kind: [pk for of, pk in keys if of == kind] for kind in KINDS}
    names = {(WORK_ORDER, pk): pk for pk in ids[WORK_ORDER]}
    if ids[SharedLimit.kind]:
        for budget in Budget.objects.filter(pk__in=ids[SharedLimit.kind]):
            names[SharedLimit.kind, str(budget.pk)] = SharedLimit(budget).label
    if ids[FeatureLimits.kind]:
        for control in FeatureControl.objects.filter(pk__in=ids[FeatureLimits.kind]):
            names[FeatureLimits.kind, str(control.pk)] = FeatureLimits(control).label
    if ids[OwnLimit.kind]:
        for limit in ApprovalLimit.objects.filter(pk__in=ids[OwnLimit.kind]):
            names[OwnLimit.kind, str(limit.pk)] = OwnLimit(limit).label
    if ids[TokenCeiling.kind]:
        for token in ServiceToken.objects.filter(pk__in=ids[TokenCeiling.kind]):
            names[TokenCeiling.kind, str(token.pk)] = TokenCeiling(token).label
    return names


def name_of(request: ChangeRequest, names: Mapping[tuple[str, str], str] | None = None) -> str:
    """What people call its subject, also where that is gone."""
    if names is None:
        names = names_of([request])
    key = (request.subject_type, request.subject_id)
    limits = (SharedLimit.kind, OwnLimit.kind)
    word = "limit" if request.subject_type in limits else request.subject_type
    return names.get(key, f"{word} {request.subject_id}")


def checked(measure: str, told: Decimal | int, *, step: Decimal | None = None) -> Decimal:
    """A value that the measure can have. Raises Refused."""
    if measure not in BOUNDS:
        raise Refused(f"There is no limit {measure}.")
    smallest, highest = BOUNDS[measure]
    step = step or smallest
    value = Decimal(told)
    if not value.is_finite() or not 0 < value <= highest or value % step:
        raise Refused(f"{Measure(measure).label}: a multiple of {step}, up to {highest}.")
    return value
