"""Limits, prices and runs, changed by SQL with the application's database role or the owner's."""

import pytest
from django.conf import settings
from psycopg import errors

from tests.roles.conftest import Connection
from tests.roles.rows import PERSON, RUN, WORK_ORDER, person

APP = str(settings.DATABASES["default"]["USER"])
DENIED = errors.InsufficientPrivilege
TOLD = """INSERT INTO operations_events (kind, message, owner_type, owner_id, actor)
VALUES (%s, 'forged', 'work_order', 'w1', 'vp')"""


# --- limits ---


@pytest.mark.parametrize(
    "columns",
    [
        {"max_concurrent_runs": "9999"},
        {"max_concurrent_runs": "3"},
        {"runs_per_day": "101"},
        {"usd_per_day": "2.01"},
        {"status": "'suspended'"},
        {"status": "'archived'"},
    ],
)
def test_a_work_order_begins_with_the_defaults(app: Connection, columns: dict[str, str]) -> None:
    names, values = ", ".join(columns), ", ".join(columns.values())
    with pytest.raises(errors.RestrictViolation):
        app.sql(f"INSERT INTO work_orders (id, title, {names}) VALUES ('w1', 'One', {values})")


@pytest.mark.parametrize("column", ["max_concurrent_runs", "runs_per_day", "usd_per_day"])
def test_caps_are_not_raised_by_hand(app: Connection, column: str) -> None:
    app.sql(WORK_ORDER)
    with pytest.raises(errors.RestrictViolation, match="only through an applied cap change"):
        app.sql(f"UPDATE work_orders SET {column} = 9999")


@pytest.mark.parametrize(
    "caps",
    ["jsonb_set(caps, '{runsPerDay}', '200')", "jsonb_set(caps, '{usdPerDay}', '10.00')", "'{}'"],
)
def test_who_writes_caps_directly_reads_how_it_is_done(app: Connection, caps: str) -> None:
    app.sql(WORK_ORDER)
    with pytest.raises(errors.RestrictViolation, match="caps of work order w1 cannot be") as result:
        app.sql(f"UPDATE work_orders SET caps = {caps} WHERE id = 'w1'")
    hint = result.value.diag.message_hint or ""
    assert "Request a cap change" in hint
    assert "POST /api/work-orders/ID/cap-changes" in hint
    assert "a request that people approve" in (result.value.diag.message_detail or "")


def test_caps_follow_the_typed_columns(app: Connection) -> None:
    app.sql(WORK_ORDER)
    assert app.sql("SELECT caps->>'runsPerDay', caps->>'usdPerDay' FROM work_orders") == [
        ("100", "2.00")
    ]
    with pytest.raises(errors.RestrictViolation, match="cannot be written directly"):
        app.sql(
            "INSERT INTO work_orders (id, title, caps) VALUES ('w2', 'x', '{\"runsPerDay\": 9}')"
        )


def test_a_forged_proof_raises_a_cap_and_stays(app: Connection) -> None:
    """It can be forged, since the application itself writes it. Its rows stay, with the database
    user and the transaction."""
    app.sql(WORK_ORDER)
    app.sql(
        "INSERT INTO cap_changes (wo_id, old_runs_per_day, new_runs_per_day, old_usd_per_day,"
        " new_usd_per_day, reason, by, applied_xid) VALUES ('w1', 100, 100, 2, 50, 'x', 'vp', 7)"
    )
    app.sql(TOLD, "WORK_ORDER_CAP_CHANGE")
    app.sql("UPDATE work_orders SET usd_per_day = 50 WHERE id = 'w1'")
    [(xid,)] = app.sql("SELECT applied_xid::text = pg_current_xact_id()::text FROM cap_changes")
    assert xid
    assert app.events("WORK_ORDER_CAP_CHANGE")[0][3] == APP


def test_a_grant_by_hand_needs_an_event_that_stays(app: Connection) -> None:
    app.sql(WORK_ORDER)
    app.sql(PERSON, "vp")
    insert = (
        "INSERT INTO cap_grants (wo_id, measure, value, kind, starts_at, ends_at, reason, granted_by,"
        " person_id) SELECT 'w1', 'usd_per_day', 50, 'break_glass', now(),"
        " now() + interval '1 hour', 'x', username, id FROM auth_user LIMIT 1"
    )
    with pytest.raises(errors.RestrictViolation):
        app.sql(insert)
    app.sql(TOLD, "BREAK_GLASS")
    app.sql(insert)
    assert app.events("BREAK_GLASS")[0][3] == APP
    with pytest.raises(errors.RestrictViolation):
        app.sql("UPDATE cap_grants SET ends_at = ends_at + interval '1 year'")
    with pytest.raises(DENIED):
        app.sql("DELETE FROM cap_grants")


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        (
            "UPDATE budgets SET amount = 1e6 WHERE scope = 'global' AND measure = 'usd'",
            "LIMIT_CHANGE",
        ),
        ("DELETE FROM budgets WHERE scope = 'address'", "LIMIT_CHANGE"),
        (
            (
                "INSERT INTO kill_switches (scope, target, enabled, reason, changed_by, changed_at) "
                "VALUES ('Identity', 'agent:x', true, 'x', 'x', now())"
            ),
            "KILL_SWITCH_CHANGE",
        ),
        ("INSERT INTO feature_flags (feature, enabled) VALUES ('x', true)", "FEATURE_CHANGE"),
        ("DELETE FROM preflight_rules", "PREFLIGHT_RULE_CHANGE"),
        ("UPDATE circuit_breakers SET open_seconds = 1", "BREAKER_SETTINGS_CHANGE"),
        (
            "UPDATE circuit_breakers SET state = 'open', half_open_at = now() WHERE scope = 'global'",
            "BREAKER_CHANGE",
        ),
        ("UPDATE approval_rules SET maximum = maximum + 1", "APPROVAL_RULES_CHANGE"),
        ("DELETE FROM approval_slots", "APPROVAL_RULES_CHANGE"),
    ],
)
def test_limits_and_rules_leave_an_event(app: Connection, statement: str, kind: str) -> None:
    before = len(app.events(kind))
    app.sql(statement)
    event = app.events(kind)[before:]
    assert event
    assert {each[3] for each in event} == {APP}


def test_an_event_about_other_rules_does_not_silence_the_trigger(app: Connection) -> None:
    app.sql("DELETE FROM approval_slots")
    app.sql(
        "INSERT INTO operations_events (kind, owner_type, owner_id, meta) SELECT DISTINCT "
        "'APPROVAL_RULES_CHANGE', 'approval_rules', measure, "
        '\'{"changes": {"rules": {"new": [{"from": "1", "to": null, "slots": {}}]}}}\'::jsonb '
        "FROM approval_rules"
    )
    [(slots,)] = app.sql("SELECT count(DISTINCT measure) FROM approval_rules")
    assert len(app.events("APPROVAL_RULES_CHANGE")) > slots


def test_a_kill_switch_lifted_by_hand_leaves_an_event(app: Connection) -> None:
    app.sql(
        "INSERT INTO kill_switches (scope, target, enabled, reason, changed_by, changed_at) "
        "VALUES ('Identity', 'agent:x', true, 'x', 'x', now())"
    )
    app.sql("UPDATE kill_switches SET enabled = false WHERE target = 'agent:x'")
    assert app.events("KILL_SWITCH_CHANGE")[-1][4]["changes"] == {
        "enabled": {"old": True, "new": False}
    }


def test_a_vote_by_hand_leaves_an_event(app: Connection) -> None:
    app.sql(WORK_ORDER)
    number = person(app, "vp")
    [(request,)] = app.sql(
        "INSERT INTO change_requests (subject_id, requester_id, justification, expected_cost_impact,"
        " expires_at, status, revision) VALUES ('w1', %s, 'x', 'x', now() + interval '1 day', 'pending',"
        " 1) RETURNING id",
        person(app, "ops"),
    )
    app.sql(
        "INSERT INTO change_votes (request_id, revision, voter_id, decision, comment, evidence) "
        "VALUES (%s, 1, %s, 'approve', 'x', '{}')",
        request,
        number,
    )
    [(_, subject, actor, user, meta)] = app.events("CAP_CHANGE_VOTE")
    assert (subject, actor, user, meta["voterId"]) == ("w1", APP, APP, number)


def test_a_price_by_hand_leaves_an_event(app: Connection) -> None:
    app.sql(
        "INSERT INTO model_prices (model, source, effective_from, input_per_mtok, output_per_mtok, tiers,"
        " tier) VALUES ('m', 'own', '2020-01-01', 1, 4, '[]', 'middle')"
    )
    app.sql("UPDATE model_prices SET input_per_mtok = 0 WHERE model = 'm'")
    assert [each[3] for each in app.events("PRICE_BOOK_UPDATE")] == [APP, APP]


# --- runs ---


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE work_order_runs SET cost = 0",
        "UPDATE work_order_runs SET status = 'success', cost = 0, finished_at = now()",
        "UPDATE work_order_runs SET reserved_usd = 0",
        "UPDATE work_order_runs SET charged_to = '{}'",
        "UPDATE work_order_runs SET lease_expires_at = now() + interval '1 year'",
        "DELETE FROM work_order_runs",
        "UPDATE run_charges SET settled_usd = 0",
        "DELETE FROM run_charges",
        "DELETE FROM work_orders",
        "DELETE FROM service_tokens",
        "DELETE FROM auth_user",
        "SELECT * FROM work_order_runs FOR UPDATE",
    ],
)
def test_runs_are_changed_by_routines_alone(app: Connection, statement: str) -> None:
    app.sql(WORK_ORDER)
    app.sql(RUN)
    with pytest.raises(DENIED):
        app.sql(statement)


def test_a_run_is_not_settled_past_the_routines(app: Connection) -> None:
    app.sql(WORK_ORDER)
    app.sql(RUN)
    with pytest.raises(DENIED):
        app.sql(
            "SELECT tollgate.settle(r, 'success', 0, '', NULL, NULL, '', now()) "
            "FROM work_order_runs r"
        )


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        (
            "UPDATE work_order_runs SET cost = 0, status = 'success', finished_at = now()",
            "RUN_CHANGED",
        ),
        ("DELETE FROM work_order_runs", "RUN_DELETED"),
    ],
)
def test_the_owner_leaves_an_event_too(owner: Connection, statement: str, kind: str) -> None:
    owner.sql(WORK_ORDER)
    [(run,)] = owner.sql(RUN)
    owner.sql(statement)
    [(_, wo, _, user, meta)] = owner.events(kind)
    assert (wo, meta["runId"], user) == ("w1", str(run), settings.DATABASES["owner"]["USER"])
    assert meta["changes"]["status"]["old"] == "running"


def test_a_settled_cost_changed_by_the_owner_leaves_an_event(owner: Connection) -> None:
    owner.sql(WORK_ORDER)
    owner.sql(RUN)
    ended = "status = 'success', cost = 1, finished_at = now(), finish_fingerprint = ''"
    owner.sql(f"UPDATE work_order_runs SET {ended}")
    assert owner.events("RUN_CHANGED") == []  # as a settlement does
    owner.sql("UPDATE work_order_runs SET cost = 0.5")
    assert owner.events("RUN_CHANGED")[0][4]["changes"]["cost"]["old"] == 1
