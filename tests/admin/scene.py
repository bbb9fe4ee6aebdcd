"""One of everything that the admin has a page for, and the people who look at it."""

import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from budgets import accounts, approvals, clock
from budgets.admission import Caller, direct_spend
from budgets.controls import automatic_mitigation, features, kill_switch
from budgets.finops.reviews import working
from budgets.models import (
    AccountChange,
    Alert,
    AlertRule,
    ApprovalLimit,
    ApprovalRule,
    AutomaticMitigation,
    BillImport,
    Budget,
    ChangeRequest,
    CircuitBreaker,
    Contact,
    CostCorrection,
    Counter,
    DimensionBudget,
    DirectSpend,
    Grant,
    Hotspot,
    KillSwitch,
    MonthlyReview,
    PreflightRule,
    ServiceMapping,
    TimedMitigation,
)
from opslog import events, outbox
from opslog.identities import canonical
from opslog.incidents.detecting import record_verdict
from opslog.models import (
    ChangeMarker,
    Incident,
    InferenceEvent,
    InferenceHour,
    ModelPrice,
    OperationsEvent,
    OutboxMessage,
    Seal,
    SealKey,
    Severity,
    UnreadSpan,
)
from opslog.outbox.notices import Notice
from opslog.seal_format import merkle
from opslog.seal_format.statements import NO_SEAL, Signer
from opslog.telemetry import change_markers, rollup
from opslog.telemetry.accepting import accept_inference
from opslog.telemetry.drafts import InferenceDraft
from tests import factories
from tests.incidents.findings import make_finding, whole_hour
from workorders import tokens
from workorders.models import Agent, Run, ServiceToken, WorkOrder

ROLES = ("operations", "director", "finance", "vp", "auditor", "administrator")
HOSTILE = "<script>alert(1)</script>"
FORMULA = "=cmd()"


@dataclass
class Scene:
    people: dict[str, User]
    work_order: WorkOrder
    run: Run
    agent: Agent
    token: ServiceToken
    token_text: str
    price: ModelPrice
    request: ChangeRequest
    event: OperationsEvent
    ids: dict[str, str] = field(default_factory=dict)


def use(work_order: WorkOrder, *, runs: int, settled: str, reserved: str = "0") -> None:
    """Counters of today, as admissions would have left them."""
    begins = clock.midnight()
    for scope, subject in (("work_order", work_order.pk), ("global", "")):
        counter, _ = Counter.objects.get_or_create(
            key=factories.counter_key(scope, subject, "day", begins),
            defaults={
                "scope": scope,
                "subject": subject,
                "window": "day",
                "starts_at": begins,
                "runs": 0,
                "settled_usd": 0,
                "reserved_usd": 0,
            },
        )
        counter.runs += runs
        counter.settled_usd += Decimal(settled)
        counter.reserved_usd += Decimal(reserved)
        counter.save()


def make_run(work_order: WorkOrder, *, agent: str = "agent-1", **columns: object) -> Run:
    now = timezone.now()
    return Run.objects.create(
        **{
            "id": uuid.uuid4(),
            "wo": work_order,
            "agent_name": agent,
            "reserved_usd": Decimal("0.10"),
            "day": now.date(),
            "lease_expires_at": now + timedelta(minutes=15),
            "lease_seconds": 900,
            **columns,
        }
    )


def ask(work_order: WorkOrder, by: User, usd: str = "8.00", why: str = "more") -> ChangeRequest:
    return approvals.ask(
        work_order.pk,
        new={"usd_per_day": Decimal(usd)},
        justification=why,
        expected_cost_impact="$6 a day",
        by=by,
    )


def break_glass(work_order: WorkOrder, by: User, why: str = "night") -> Grant:
    """Of concurrent runs, so that the caps a day are those of the others' tests."""
    (made,) = approvals.raise_at_once(
        work_order.pk, new={"max_concurrent_runs": 3}, minutes=30, reason=why, by=by
    )
    return made


def refuse(work_order: WorkOrder, agent: str = "agent-1") -> int:
    return events.record(
        "RATE_LIMIT_429",
        message=f"{agent} refused: budget cap reached",
        owner=("work_order", work_order.pk),
        label=work_order.title,
        actor="svc",
        meta={"woId": work_order.pk, "agentName": agent, "reason": "usd_per_day"},
    )


def make_message(to: User, text: str) -> OutboxMessage:
    """One that could not be sent."""
    with transaction.atomic():
        notice = Notice(text, "sent → not sent", "the scene", Severity.INFO, "Nothing.", text)
        outbox.send(topic="test", to=[to], notice=notice, link="/admin/", key="1")
    message = OutboxMessage.objects.latest("id")
    OutboxMessage.objects.filter(pk=message.pk).update(state="failed", attempts=10, error=text)
    return message


def make_seal() -> Seal:
    """An empty one, under a key that is forgotten at once; and everybody may read the seals."""
    signer, now = Signer.new(), timezone.now()
    key = SealKey.objects.create(
        generation=1,
        key_id=signer.key_id,
        public_key=signer.public_key,
        introduced_at=now,
        endorsed_by=signer.key_id,
        endorsement=signer.sign(b""),
    )
    seal = Seal(
        number=1,
        previous=NO_SEAL,
        root=merkle.EMPTY,
        event_count=0,
        sealed_at=now,
        snapshot="1:1:",
        encoding=1,
        key=key,
    )
    statement = seal.statement()
    seal.hash, seal.signature = statement.hash(), signer.sign(statement.text())
    seal.save(force_insert=True)
    return seal


def stop_somebody(text: str) -> KillSwitch:
    return kill_switch.switch("Identity", f"user:{text}", enabled=True, reason=text, by="ops")[0]


def burn(text: str) -> Incident:
    """An incident whose throttle the job has applied; the lever is off again."""
    now = timezone.now()

    def switch(enabled: bool) -> None:
        automatic_mitigation.set_lever(
            "throttle", enabled=enabled, minutes=60, reason=text, by=text, now=now
        )

    switch(True)
    result = make_finding(
        until=whole_hour(now), feature=text, tool=text, traffic=text, sentences=(text,)
    )
    incident = record_verdict(result, now=now)
    automatic_mitigation.apply_proposals(now=now)
    switch(False)
    assert incident is not None
    return incident


def spend_something(token_text: str, text: str) -> DirectSpend:
    caller = Caller(tokens.digest(token_text), "")
    who = direct_spend.Attribution(user_id=text, feature=text)
    direct_spend.spend(caller=caller, who=who, cost_usd=Decimal("0.01"))
    return DirectSpend.objects.get()


def tell_of_a_change(text: str) -> ChangeMarker:
    now = timezone.now()
    return change_markers.record_change(kind="deploy", what=text, feature=text, by="ops", now=now)[
        0
    ]


def sum_up_an_hour(text: str) -> InferenceHour:
    draft = InferenceDraft(model=text, feature=text, cost_usd=Decimal(1))
    accept_inference([draft], source="api", now=timezone.now() - timedelta(hours=1))
    rollup.refresh()
    return InferenceHour.objects.get()


def miss_a_span(text: str) -> UnreadSpan:
    return UnreadSpan.objects.create(
        sender_id=0, digest="0", scope=text, span_name=text, names=[text], spans=2, lost=1
    )


def month_end(text: str) -> dict[str, str]:
    """What is gone through once a month: the registry, the bills, the review."""
    month = whole_hour(timezone.now()).date().replace(day=1)
    working.open_review(month, by="tollgate")
    bill = BillImport.objects.create(
        file_name=text, sha256="0", lines=1, bad_lines=0, billed_usd=1, periods=[], imported_by=text
    )
    return {
        "budgets_hotspot": str(Hotspot.objects.values_list("pk", flat=True)[0]),
        "budgets_contact": str(Contact.objects.values_list("pk", flat=True)[0]),
        "budgets_dimensionbudget": str(DimensionBudget.objects.values_list("pk", flat=True)[0]),
        "budgets_servicemapping": str(ServiceMapping.objects.values_list("pk", flat=True)[0]),
        "budgets_billimport": str(bill.pk),
        "budgets_monthlyreview": str(MonthlyReview.objects.get().pk),
    }


def propose(people: dict[str, User]) -> AccountChange:
    """The superuser wants the asker to be a director too; an administrator may confirm it."""
    waiting = accounts.change(
        people["asker"].pk, by=people["root"], values={}, groups={"operations", "director"}
    ).waiting
    assert waiting is not None
    return waiting


def correct(run: Run, by: User, why: str) -> CostCorrection:
    """One that waits for a second person."""
    return CostCorrection.objects.create(
        of="run", subject_id=run.pk, status="pending", old_usd=1, new_usd=0, reason=why, asked_by=by
    )


def make_scene(text: str = "Nightly digest") -> Scene:
    people = {
        role: factories.make_user(role, groups=[role], is_staff=True, is_active=True)
        for role in ROLES
    }
    people["nobody"] = factories.make_user("nobody", is_staff=True)
    people["asker"] = factories.make_user("asker", groups=["operations"], is_staff=True)
    people["root"] = factories.make_user("root", is_staff=True, is_superuser=True)
    work_order = factories.make_work_order("w1", title=text)
    agent = factories.make_agent(text, description=text)
    run = make_run(
        work_order,
        agent=canonical(text),
        agent_known=False,
        user_id=canonical(text),
        model=canonical(text),
    )
    use(work_order, runs=3, settled="0.20", reserved="0.10")
    token, token_text = factories.make_token(owner=people["operations"], name=text)
    price = factories.make_price(model=text)
    request = ask(work_order, people["asker"], why=text)
    refuse(work_order, agent=text)
    event = OperationsEvent.objects.filter(kind="RATE_LIMIT_429").latest("id")
    scene = Scene(people, work_order, run, agent, token, token_text, price, request, event)
    scene.ids = {
        "workorders_workorder": work_order.pk,
        "workorders_run": str(run.pk),
        "workorders_agent": agent.pk,
        "workorders_servicetoken": str(token.pk),
        "workorders_tokenpolicy": "1",
        "opslog_changemarker": str(tell_of_a_change(text).pk),
        "opslog_costpreference": "1",
        "opslog_inferencehour": str(sum_up_an_hour(text).pk),
        "opslog_unreadspan": str(miss_a_span(text).pk),
        "opslog_inferenceevent": str(InferenceEvent.objects.values_list("pk", flat=True)[0]),
        "opslog_modelprice": str(price.pk),
        "opslog_operationsevent": str(event.pk),
        "opslog_seal": str(make_seal().pk),
        "opslog_outboxmessage": str(make_message(people["auditor"], text).pk),
        "budgets_changerequest": str(request.pk),
        "budgets_grant": str(break_glass(work_order, people["asker"], text).pk),
        "budgets_killswitch": str(stop_somebody(text).pk),
        "budgets_circuitbreaker": str(CircuitBreaker.objects.get(scope="global").pk),
        "budgets_featurecontrol": str(features.change(text, {}, reason=text, by="ops").pk),
        "opslog_incident": str(burn(text).pk),
        "budgets_timedmitigation": str(TimedMitigation.objects.values_list("pk", flat=True)[0]),
        "budgets_automaticmitigation": str(
            AutomaticMitigation.objects.values_list("pk", flat=True)[0]
        ),
        **month_end(text),
        "budgets_alert": str(Alert.objects.earliest("id").pk),
        "opslog_messagepolicy": "1",
        "budgets_alertrule": str(AlertRule.objects.earliest("id").pk),
        "budgets_preflightrule": str(PreflightRule.objects.earliest("id").pk),
        "budgets_directspend": str(spend_something(token_text, text).pk),
        "budgets_costrule": "1",
        "budgets_costcorrection": str(correct(run, people["asker"], text).pk),
        "budgets_budget": str(Budget.objects.values_list("pk", flat=True)[0]),
        "budgets_approvallimit": str(ApprovalLimit.objects.values_list("pk", flat=True)[0]),
        "budgets_approvalrule": str(ApprovalRule.objects.values_list("pk", flat=True)[0]),
        "auth_user": str(people["auditor"].pk),
        "budgets_accountchange": str(propose(people).pk),
        "auth_group": str(people["auditor"].groups.values_list("pk", flat=True)[0]),
    }
    return scene
