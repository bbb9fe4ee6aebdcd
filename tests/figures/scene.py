"""The demo's thirty days, and beside them one of each case at the edge of a figure's meaning. All
of it is written by the routines that write it in production, so that counters and rows agree."""

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection

from budgets import admission, approvals, tasks
from budgets.admission import FinishTold, direct_spend
from budgets.controls import features, kill_switch
from budgets.demo.seeding import seed
from budgets.finops.bills import actuals
from budgets.finops.hotspots import measuring
from budgets.finops.reviews import working
from budgets.models import Budget, DimensionBudget, ServiceMapping
from opslog.incidents import triage_job
from opslog.models import InferenceEvent
from opslog.price_book import prices
from opslog.price_book.imported import bundled
from opslog.pricing import PriceBook, Usage
from opslog.telemetry import rollup
from opslog.telemetry.accepting import accept_inference, accept_tools
from opslog.telemetry.drafts import InferenceDraft, ToolDraft
from tests import factories
from tests.admission.desk import Desk, body, install_clock, run_of, set_clock
from tests.reviews.bills import HEADER
from workorders.models import WorkOrder

FEATURE, UNKNOWN_MODEL = "edge-feature", "model-of-nobody"
NINTH = Decimal("0.123456789")  # dollars: to the last decimal that is kept


def before_midnight(now: datetime) -> datetime:
    return datetime.combine(now.date() - timedelta(days=1), time(23, 50), UTC)


def make(folder: Path) -> User:
    """Gives who may see everything."""
    now = datetime.now(UTC)
    seed(book=PriceBook(0, bundled()), now=now)
    people = {each: User.objects.get(username=each) for each in ("admin", "ops", "ops2")}
    _limits()
    install_clock()
    _work_orders()
    desk = Desk(token=factories.make_token(("start", "admin"), owner=people["ops"], name="edge")[1])
    _yesterday(desk, before_midnight(now))
    _today(desk)
    _refused(desk)
    _told(desk, now)
    approvals.raise_at_once(
        "edge", new={"usd_per_day": Decimal("7.50")}, minutes=60, reason="edge", by=people["ops"]
    )
    factories.set_status(WorkOrder.objects.get(pk="edge-archived"), "archived")
    features.change(FEATURE, {"max_rounds": 3, "cost_cap_usd": 90}, reason="edge", by="ops")
    kill_switch.switch(
        "Identity", "agent:edge-open", enabled=True, reason="edge", by="ops", person=people["ops"]
    )
    _asked(people["ops"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT tollgate.flush_refusals_v1(1000)")
    _bills(folder, now)
    rollup.refresh()
    measuring.measure()
    triage_job.run(now=now)
    working.open_review(actuals.month_before(actuals.first_of(now.date())), by="tollgate")
    return people["admin"]


def _limits() -> None:
    """For each user in dollars and in tokens, one of them with a limit of his own; and others."""
    factories.make_price("gpt-4o-mini")
    prices.forget_book()  # the process may hold that of another database
    DimensionBudget.objects.filter(dimension__in=("llm_api", "compute")).update(monthly_usd=250)
    factories.set_limit("user", "day", "usd", "2.00")
    factories.set_limit("user", "day", "usd", "1.00", subject="vip")
    factories.set_limit("user", "day", "tokens", 500_000)
    factories.set_limit("feature", "rolling_hour", "usd", "30.00")
    factories.set_limit("model", "month", "usd", "900.00")


def _work_orders() -> None:
    factories.make_work_order("edge", usd_per_day="5.00", runs_per_day=40, max_concurrent_runs=9)
    factories.make_work_order("edge-tight", usd_per_day="0.50", runs_per_day=3)
    factories.make_work_order("edge-archived", max_concurrent_runs=3)
    factories.make_work_order("edge-idle")


def _yesterday(desk: Desk, at: datetime) -> None:
    """Started ten minutes before midnight: one goes on, one expires, one reports after that."""
    set_clock(at)
    body(desk.start("edge", "0.30", lease_seconds=86_400, agent="edge-open"))
    body(desk.start("edge", "0.20", lease_seconds=60, agent="edge-expired"))
    late = run_of(desk.start("edge", "0.20", lease_seconds=60, agent="edge-late"))
    set_clock(at + timedelta(minutes=2))
    assert tasks.expire_leases() == 2
    set_clock(None)
    assert desk.finish(late, NINTH).status == 200


def _today(desk: Desk) -> None:
    who = {"user_id": "alice", "feature": FEATURE, "surface": "web"}
    exact = run_of(desk.start("edge", "0.10", model="gpt-4o-mini", **who))
    desk.finish(exact, "0.05")
    overrun = run_of(desk.start("edge", "0.10", **who))
    assert desk.extend(overrun, "0.05").status == 200
    desk.finish(overrun, "0.200000001")
    cancelled = run_of(desk.start("edge", "0.10", user_id="bob"))
    assert desk.finish(cancelled, "0.175", status="cancelled").status == 200
    failed = run_of(desk.start("edge", "0.10", user_id="vip"))
    desk.finish(failed, "0.01", status="error")
    unpriced = run_of(desk.start("edge", "0.15", user_id="bob"))
    usage = Usage(input_tokens=1000, output_tokens=100)
    report = FinishTold(status="success", model=UNKNOWN_MODEL, usage=usage)
    assert admission.finish(UUID(unpriced), report, caller=desk.caller).status == 200
    priced = run_of(desk.start("edge", "0.30", model="gpt-4o-mini", user_id="vip"))
    report = FinishTold(status="success", model="gpt-4o-mini", usage=usage)
    assert admission.finish(UUID(priced), report, caller=desk.caller).status == 200
    body(desk.start("edge", "0.25", lease_seconds=86_400, **who))
    extended = run_of(desk.start("edge", "0.10", lease_seconds=86_400, **who))
    assert desk.extend(extended, "0.15").status == 200
    # Of all users the one with the fewest runs, and the most dollars.
    desk.finish(run_of(desk.start("edge", "1.20", user_id="dora")), "1.20")
    archived = run_of(desk.start("edge-archived", "0.10"))
    desk.finish(archived, "0.07")


def _refused(desk: Desk) -> None:
    """By a cap in dollars of which some is left, by one of runs, by a limit of a user."""
    desk.finish(run_of(desk.start("edge-tight", "0.30")), "0.30")
    for _ in range(3):
        assert desk.start("edge-tight", "0.21").denial == "usd_per_day"
    for _ in range(2):
        desk.finish(run_of(desk.start("edge-tight", "0.01")), "0.01")
    assert desk.start("edge-tight", "0.01").denial == "runs_per_day"
    assert desk.start("edge", "1.99", user_id="alice").denial == "user_quota"
    assert desk.start("edge", "0.99", user_id="vip").denial == "user_quota"
    # More in one second than have events of their own: they share one.
    set_clock(datetime.now(UTC))
    for _ in range(40):
        assert desk.start("edge", "1.99", user_id="alice").denial == "user_quota"
    set_clock(None)


def _told(desk: Desk, now: datetime) -> None:
    """Direct spend; telemetry of a run, of a call that never asked, and of an unknown cost."""
    who = direct_spend.Attribution(user_id="carol", feature=FEATURE, surface="web")
    direct_spend.spend(caller=desk.caller, who=who, cost_usd=Decimal("0.770000003"))
    usage = Usage(input_tokens=2000, output_tokens=500)
    direct_spend.spend(caller=desk.caller, who=who, model="gpt-4o-mini", usage=usage)
    run = run_of(desk.start("edge", "0.05", user_id="bob"))
    desk.finish(run, "0.04")
    drafts = [
        InferenceDraft(model="gpt-4o", feature=FEATURE, cost_usd=Decimal("0.04"), run_id=UUID(run)),
        # The price book has another cost: both are known.
        InferenceDraft(
            model="gpt-4o-mini",
            feature=FEATURE,
            cost_usd=Decimal("0.015"),
            input_tokens=1700,
            output_tokens=70,
        ),
        InferenceDraft(
            model="gpt-4o", feature=FEATURE, cost_usd=Decimal("0.02"), work_order_id="edge"
        ),
        InferenceDraft(model=UNKNOWN_MODEL, feature=FEATURE, input_tokens=10, output_tokens=5),
    ]
    tool = ToolDraft(tool_name="edge-tool", success=False, retries=1, feature=FEATURE)
    for hours in (0, 3, 20, 30, 60):
        at = now - timedelta(hours=hours)
        accept_inference(drafts, source=InferenceEvent.Source.API, now=at)
        accept_tools([tool], now=at)


def _asked(by: User) -> None:
    """Caps of a work order, and a limit of each user: both wait for those who decide."""
    limit = Budget.objects.get(scope="user", subject="*", window="day", measure="usd")
    for kind, subject, new in (
        ("work_order", "edge", {"usd_per_day": Decimal("8.00")}),
        ("budget", str(limit.pk), {"shared_limit": Decimal(3)}),
    ):
        approvals.ask(
            subject,
            kind=kind,
            new=new,
            justification="edge",
            expected_cost_impact="some",
            by=by,
        )


def _bills(folder: Path, now: datetime) -> None:
    this = actuals.first_of(now.date())
    last = actuals.month_before(this)
    for month in (actuals.month_before(last), last, this):
        file = folder / f"{month:%Y-%m}.csv"
        lines = (
            f"{usd},USD,{month:%Y-%m}-01T00:00:00Z,{category},{name}"
            for usd, category, name in (
                ("12.345678901", "Compute", "Machines"),
                ("3.10", "Storage", "Objects"),
                ("0.77", "Unheard of", "Something"),
                # What the provider of models says, beside what was counted here.
                (f"{month.month}.50", "AI and Machine Learning", "Models"),
            )
        )
        file.write_text("\n".join([HEADER, *lines]) + "\n")
        call_command("import_focus", str(file), "--by=finance", verbosity=0)
    assert ServiceMapping.objects.exists()
