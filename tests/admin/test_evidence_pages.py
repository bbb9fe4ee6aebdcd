"""The page of a request with its evidence, and what is kept with a vote."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from budgets import approvals
from budgets.models import CapChange, ChangeRequest, Vote
from opslog.events import record
from opslog.models import OperationsEvent
from tests import factories
from tests.admin.pages import ANSWERS, decide, form, log_in, queries
from tests.admin.scene import HOSTILE, Scene, ask, make_run, make_scene, refuse, use
from workorders.models import WorkOrder

PASSWORD = "correct horse battery"


def url_of(request: ChangeRequest, act: str = "change") -> str:
    return reverse(f"admin:budgets_changerequest_{act}", args=[request.pk])


def ended(scene: Scene, *, agent: str, **columns: object) -> None:
    make_run(scene.work_order, agent=agent, status="success", finished_at=timezone.now(), **columns)


def look(scene: Scene, role: str, request: ChangeRequest | None = None) -> str:
    return log_in(scene, role).get(url_of(request or scene.request)).content.decode()


def unconfirmed(scene: Scene, role: str) -> Client:
    """Signed in with a password, some time ago."""
    person: User = scene.people[role]
    person.set_password(PASSWORD)
    person.save()
    client = Client()
    client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
    return client


def test_an_idle_work_order_explains_itself(scene: Scene) -> None:
    idle = ask(factories.make_work_order("idle"), scene.people["asker"])
    text = look(scene, "operations", idle)
    for phrase in (
        "Nothing was refused in 30 days",
        "No run has ended in 30 days",
        "No agent has run in 30 days",
        "No run has reported its tokens",
        "No red flag",
    ):
        assert phrase in text, phrase


def test_figures_lead_to_their_rows(scene: Scene) -> None:
    ended(scene, agent="stray", agent_known=False, cost=Decimal("1.50"))
    client = log_in(scene, "operations")
    answer = client.get(url_of(scene.request))
    flags = {flag.said: flag.href for flag in answer.context["flags"]}
    href = next(href for item, href in flags.items() if "not registered" in item)
    rows = client.get(href)
    assert rows.status_code == 200
    assert len(rows.context["cl"].result_list) == 2, "the run of the scene is unknown too"
    assert f'href="{href.replace("&", "&amp;")}"' in answer.content.decode()
    for name in ("runs_url", "errors_url", "today_url", "refusals_url"):
        listed = client.get(answer.context[name])
        assert listed.status_code == 200
        assert "e=1" not in listed.request["QUERY_STRING"], name


@pytest.mark.parametrize("role", ["director", "auditor"])
def test_queries_are_bounded(scene: Scene, role: str) -> None:
    client = log_in(scene, role)
    few = queries(client, url_of(scene.request))
    for index in range(12):
        ended(scene, agent=f"agent-{index}", cost=Decimal("0.01"))
        refuse(scene.work_order)
        factories.make_user(f"more-{index}", groups=["operations"], is_staff=True)
    many = queries(client, url_of(scene.request))
    assert len(many) <= len(few)
    assert len(many) <= 32, "\n".join(sql[:60] for sql in many)


def test_the_queue_does_not_grow_and_tells_what_is_blocked(scene: Scene) -> None:
    client = log_in(scene, "operations")
    url = reverse("admin:budgets_changerequest_changelist") + "?whose=me"
    few = queries(client, url)
    for index in range(8):
        work_order = factories.make_work_order(f"more-{index}")
        use(work_order, runs=1, settled="0.1")
        ask(work_order, scene.people["asker"])
        refuse(work_order)
        refuse(work_order)
    many = queries(client, url)
    assert len(many) <= len(few) + 2, "\n".join(many)
    answer = client.get(url)
    rows = answer.context["cl"].result_list
    assert [row.pk for row in rows] == sorted(row.pk for row in rows), "the oldest first"
    assert rows[-1].blocked == [("usd_per_day", 2)]
    assert "budget cap: 2" in answer.content.decode()


@pytest.mark.parametrize("query", ["?whose=me", ""])
def test_shared_limits_do_not_make_the_lists_grow(scene: Scene, query: str) -> None:
    def ask_for(scope: str) -> ChangeRequest:
        limit = factories.set_limit(scope, "day", "tokens", 100)
        return approvals.ask(
            str(limit.pk),
            kind="budget",
            new={"shared_limit": Decimal(200)},
            justification="quarter end",
            expected_cost_impact="$1 a day",
            by=scene.people["asker"],
        )

    client = log_in(scene, "director")
    url = reverse("admin:budgets_changerequest_changelist") + query
    request = ask_for("user")
    ask_for("surface")
    few = queries(client, url)
    for scope in ("feature", "model", "agent", "team"):
        ask_for(scope)
    for denial in ("user_quota", "user_quota", "budget:surface:day"):
        record("RATE_LIMIT_429", message="", actor="test", meta={"reason": denial})
    many = queries(client, url)
    assert len(many) <= len(few) + 2, "\n".join(many)
    rows = {row.pk: row for row in client.get(url).context["cl"].result_list}
    assert rows[request.pk].href
    if query:
        assert rows[request.pk].blocked == [("user_quota", 2)]
        assert rows[request.pk + 2].blocked == []


def test_what_people_type_stays_text(db: None) -> None:
    scene = make_scene(HOSTILE)
    outcomes = decide(
        log_in(scene, "operations"), scene.request, comment=HOSTILE, legitimate_note=HOSTILE
    )
    assert HOSTILE not in outcomes
    assert Vote.objects.get().evidence["answers"]["legitimate"]["note"] == HOSTILE
    for role in ("auditor", "director"):
        text = look(scene, role)
        assert HOSTILE not in text
        assert "&lt;script&gt;alert(1)" in text


def test_the_evidence_is_kept_with_the_vote_and_shown(scene: Scene) -> None:
    decide(log_in(scene, "operations"), scene.request, optimise="no", optimise_note="tried it")
    kept = Vote.objects.get().evidence
    assert kept["workOrderId"] == "w1"
    assert kept["lines"] == {"usd_per_day": {"old": "2.00", "new": "8.00"}}
    assert kept["answers"]["optimise"] == {"answer": "no", "note": "tried it"}
    assert kept["whatIf"]["asked"]["wouldRun"] == 1
    text = look(scene, "auditor")
    assert "What they saw and answered" in text
    assert "tried it" in text


def test_approving_needs_the_answers_and_refusing_does_not(scene: Scene) -> None:
    client = log_in(scene, "operations")
    text = decide(client, scene.request, optimise="")
    assert "Answer this to approve" in text
    assert not Vote.objects.exists()
    assert "is refused" in decide(
        client, scene.request, decision="refuse", legitimate="", reasonable="", optimise=""
    )


def test_over_fifty_dollars_who_approves_confirms_first(scene: Scene) -> None:
    big = ask(factories.make_work_order("big"), scene.people["asker"], usd="50.01")
    client = unconfirmed(scene, "finance")
    assert "asks you to confirm it’s you" in client.get(url_of(big)).content.decode()
    assert "Confirm it’s you" in decide(client, big)
    assert not OperationsEvent.objects.filter(kind="PASSWORD_REFUSED").exists()
    where = f"{reverse('account_reauthenticate')}?next={url_of(big, 'decide')}"
    text = client.post(where, {"password": "wrong one"}).content.decode()
    assert "That is not your password" in text
    assert "wrong one" not in text
    event = OperationsEvent.objects.get(kind="PASSWORD_REFUSED")
    assert event.actor == "finance"
    assert "wrong one" not in f"{event.message}{event.meta}"
    assert not Vote.objects.exists()
    # The decision was kept meanwhile: confirming sends it.
    assert "is recorded" in client.post(where, {"password": PASSWORD}, follow=True).content.decode()
    assert Vote.objects.get().comment == "seen"
    assert "approved and applied" in decide(log_in(scene, "vp"), big)
    assert WorkOrder.objects.get(pk="big").usd_per_day == Decimal("50.01")


def test_a_refusal_needs_no_confirmation(scene: Scene) -> None:
    big = ask(factories.make_work_order("big"), scene.people["asker"], usd="60")
    assert "is refused" in decide(unconfirmed(scene, "finance"), big, decision="refuse")


def test_at_fifty_dollars_nobody_confirms(scene: Scene) -> None:
    fifty = ask(factories.make_work_order("fifty"), scene.people["asker"], usd="50")
    assert "confirm it’s you" not in look(scene, "director", fifty)
    assert "approved and applied" in decide(unconfirmed(scene, "director"), fifty)


def test_editing_clears_the_votes(scene: Scene) -> None:
    work_order = factories.make_work_order("big")
    big = ask(work_order, scene.people["asker"], usd="60")
    decide(log_in(scene, "finance"), big)
    assert "signed by finance" in look(scene, "vp", big)
    client = log_in(scene, "asker")
    assert (
        "clears what was signed so far (1 signature)"
        in client.get(url_of(big, "edit")).content.decode()
    )
    data = {
        "usd_per_day": "70",
        "justification": "still more",
        "expected_cost_impact": "$1 a day",
        "send": "1",
    }
    changed = client.post(url_of(big, "edit"), data, follow=True).content.decode()
    assert "whoever signed is asked again" in changed
    assert "version 1: counts no more" in changed
    big.refresh_from_db()
    assert (big.revision, big.status) == (2, "pending")
    assert "signed by finance" not in look(scene, "vp", big)
    assert "changed since you saw it" in decide(log_in(scene, "vp"), big, seen_revision=1)
    assert log_in(scene, "vp").get(url_of(big, "edit")).status_code == 403
    client.post(url_of(big, "withdraw"))
    assert "decided or expired" in client.get(url_of(big, "edit"), follow=True).content.decode()


def test_a_raise_for_a_time_and_runs_at_once(scene: Scene) -> None:
    work_order = factories.make_work_order("w2")
    soon = timezone.now() + timedelta(hours=1)
    until = f"{soon + timedelta(days=1):%Y-%m-%dT%H:%M}"
    client = log_in(scene, "asker")
    half = form(client, "w2", usd_per_day="9", grant_until=until, send="1")
    assert "needs both its beginning and its end" in half
    data = {"grant_from": f"{soon:%Y-%m-%dT%H:%M}", "grant_until": until}
    checked = form(client, "w2", usd_per_day="9", check="1", **data)
    assert "It will need <strong>operations</strong>" in checked
    form(client, "w2", usd_per_day="9", send="1", **data)
    made = ChangeRequest.objects.get(subject_id="w2")
    assert made.grant_until is not None
    assert f"{made.grant_until:%Y-%m-%dT%H:%M}" == until
    assert "For a time only" in look(scene, "operations", made)
    approvals.cancel(made.pk, by=scene.people["asker"])
    more = work_order.max_concurrent_runs + 1
    text = form(client, "w2", max_concurrent_runs=more, send="1")
    assert "concurrent runs" in text
    assert "Both caps a day stay as they are" in text


def test_checking_a_lowering_says_at_once(scene: Scene) -> None:
    factories.make_work_order("w2")
    text = form(log_in(scene, "operations"), "w2", usd_per_day="1.00", check="1")
    assert "it takes effect at once" in text
    assert not CapChange.objects.filter(wo="w2").exclude(by="test").exists()


def test_nobody_left_to_sign_is_shouted(scene: Scene) -> None:
    director = ask(factories.make_work_order("w2"), scene.people["asker"], usd="20")
    assert "Nobody can approve this" not in look(scene, "auditor", director)
    scene.people["director"].groups.clear()
    assert "There is nobody left to sign for director" in look(scene, "auditor", director)


def test_verified_by_the_first_starts_since(scene: Scene) -> None:
    decide(log_in(scene, "operations"), scene.request)
    assert "No start since" in look(scene, "auditor")
    run = make_run(scene.work_order, started_at=timezone.now())
    refuse(scene.work_order)
    text = look(scene, "auditor")
    assert "Verified by the first starts since" in text
    assert reverse("admin:workorders_run_change", args=[run.pk]) in text
    assert "refused: budget cap" in text
    assert text.index(">admitted<") < text.index("refused: budget cap")


def test_several_at_once(scene: Scene) -> None:
    asker = scene.people["asker"]
    small = ask(factories.make_work_order("small"), asker, usd="5")
    moved = ask(factories.make_work_order("moved"), asker, usd="6")
    other = ask(factories.make_work_order("other"), asker, usd="20")
    client = log_in(scene, "operations")
    page = client.post(
        reverse("admin:budgets_changerequest_changelist") + "?whose=",
        {
            "action": "decide_on_selected",
            "index": "0",
            "_selected_action": [small.pk, moved.pk, other.pk],
        },
    )
    text = page.content.decode()
    assert f'value="{small.pk}:1"' in text
    assert "This needs director" in text
    assert not Vote.objects.exists()
    approvals.edit(
        moved.pk,
        new={"usd_per_day": Decimal(7)},
        justification="more",
        expected_cost_impact="$1 a day",
        by=asker,
    )
    many = reverse("admin:budgets_changerequest_decide_selected")
    seen = [f"{each.pk}:1" for each in (small, moved, other)]
    again = client.post(many, {"decision": "approve", "comment": " ", "seen": seen})
    assert "This field is required" in again.content.decode()
    assert f'value="{moved.pk}:1"' in again.content.decode(), "not the revision of now"
    done = client.post(
        many, {"decision": "approve", "comment": "all fine", "seen": seen}, follow=True
    ).content.decode()
    assert f"Request #{small.pk}: applied" in done
    assert f"Request #{moved.pk}: Not decided: The request was changed" in done
    assert f"Request #{other.pk}: Not decided: This needs director" in done
    vote = Vote.objects.get()
    assert vote.evidence["workOrderId"] == "small"
    assert client.get(many).status_code == 405


def test_nothing_over_fifty_dollars_in_bulk(scene: Scene) -> None:
    big = ask(factories.make_work_order("big"), scene.people["asker"], usd="60")
    done = log_in(scene, "finance").post(
        reverse("admin:budgets_changerequest_decide_selected"),
        {"decision": "approve", "comment": "fine", "seen": [f"{big.pk}:1", "9999999:1"]},
        follow=True,
    )
    text = done.content.decode()
    assert "over $50 a day is decided one by one" in text
    assert "there is no such request" in text
    assert not Vote.objects.exists()


def test_reading_decides_nothing(scene: Scene) -> None:
    client = log_in(scene, "operations")
    query: dict[str, str] = {"decision": "approve", "comment": "x", "seen_revision": "1", **ANSWERS}
    assert client.get(url_of(scene.request, "decide"), query).status_code == 405
    client.get(url_of(scene.request), query)
    assert not Vote.objects.exists()


def test_a_cap_that_moved_after_the_form_was_shown_is_not_put_back(scene: Scene) -> None:
    """The form shows every cap; what nobody touched must not be asked for as it was."""
    work_order = factories.make_work_order("moves")
    client = log_in(scene, "operations")
    shown = {"runs_per_day": "100", "usd_per_day": "2.00", "max_concurrent_runs": "2"}
    data = {f"initial-{name}": value for name, value in shown.items()} | shown
    factories.set_caps(work_order, 100, "10.00")
    client.post(
        reverse("admin:budgets_changerequest_add") + "?work_order=moves",
        data
        | {
            "runs_per_day": "50",
            "justification": "fewer",
            "expected_cost_impact": "$1 a day",
            "send": "1",
        },
    )
    work_order.refresh_from_db()
    assert (work_order.runs_per_day, str(work_order.usd_per_day)) == (50, "10.00")
