"""What somebody who has the application's database role tries, and what comes of it."""

import psycopg
import pytest
from django.conf import settings
from psycopg import errors

from config.scratch import with_database
from tests.roles.conftest import Connection

APP = str(settings.DATABASES["default"]["USER"])
DENIED = errors.InsufficientPrivilege
WORK_ORDER = "INSERT INTO work_orders (id, title) VALUES ('w1', 'One')"
TOLD = """INSERT INTO operations_events (kind, message, owner_type, owner_id, actor)
VALUES (%s, 'forged', 'work_order', 'w1', 'vp')"""
PERSON = """INSERT INTO auth_user (username, password, is_superuser, is_staff, is_active, first_name,
    last_name, email, date_joined) VALUES (%s, 'hash-of-it', false, true, true, '', '', '', now())
RETURNING id"""
TOKEN = """INSERT INTO service_tokens (name, prefix, digest, scopes, owner_id)
VALUES ('mine', 'tg_mine0', sha256('x'), '{admin,start}', %s) RETURNING id"""
RUN = """INSERT INTO work_order_runs (id, wo_id, agent_name, reserved_usd, day, lease_expires_at,
    lease_seconds) VALUES (gen_random_uuid(), 'w1', 'a', 0.5, current_date, now(), 900) RETURNING id"""


def person(app: Connection, name: str = "mallory") -> int:
    [(number,)] = app.sql(PERSON, name)
    return int(number)


# --- it becomes nobody else ---


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TEMP TABLE operations_events (LIKE public.operations_events)",
        "CREATE TEMP TABLE cap_changes (LIKE public.cap_changes)",
        "CREATE TEMP VIEW pg_inherits AS SELECT * FROM pg_catalog.pg_inherits",
        "SELECT 1 AS x INTO TEMP mine",
        "CREATE TABLE public.mine ()",
        "CREATE TABLE tollgate.mine ()",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = int, FUNCTION = textregexeq)",
        "CREATE OR REPLACE FUNCTION tollgate.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'",
        "CREATE EXTENSION dblink",
        "CREATE EXTENSION postgres_fdw",
        "CREATE LANGUAGE plperlu",
        "CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION tollgate.refuse_change()",
        "CREATE PUBLICATION mine FOR TABLE operations_events",
        (
            "CREATE TRIGGER mine BEFORE INSERT ON counters FOR EACH ROW "
            "EXECUTE FUNCTION tollgate.refuse_change()"
        ),
        "CREATE RULE mine AS ON INSERT TO operations_events DO INSTEAD NOTHING",
        "CREATE POLICY mine ON operations_events USING (false)",
        "ALTER TABLE operations_events DISABLE TRIGGER ALL",
        "ALTER TABLE work_orders DISABLE TRIGGER guard_caps",
        "ALTER TABLE operations_events DETACH PARTITION operations_events_default",
        "DROP TABLE operations_events_default",
        "DROP TRIGGER stamp ON operations_events",
        "ALTER FUNCTION tollgate.stamp_event() SET search_path = pg_temp",
        "ALTER ROLE CURRENT_USER SUPERUSER",
        "ALTER ROLE CURRENT_USER CREATEDB",
        "SET ROLE tollgate_owner",
        "SET SESSION AUTHORIZATION tollgate_owner",
        "SET session_replication_role = replica",
        "COPY heartbeats FROM PROGRAM 'id'",
        "COPY heartbeats TO '/tmp/heartbeats'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT lo_export(1, '/tmp/x')",
        "ALTER DATABASE CURRENT SET search_path = pg_temp",
        "SELECT setval('operations_events_id_seq', 1)",
        "SELECT setval('event_numbers', 9000000000000000000)",
        "ALTER SEQUENCE event_numbers RESTART",
        "LOCK TABLE operations_events IN ACCESS EXCLUSIVE MODE",
    ],
)
def test_it_makes_and_becomes_nothing(app: Connection, statement: str) -> None:
    owner = str(settings.DATABASES["owner"]["USER"])
    statement = statement.replace("tollgate_owner", owner)
    if "CURRENT SET" in statement:
        [(name,)] = app.sql("SELECT quote_ident(current_database())")
        statement = statement.replace("DATABASE CURRENT", f"DATABASE {name}")
    with pytest.raises(
        (
            DENIED,
            errors.InvalidParameterValue,
            errors.FeatureNotSupported,
            errors.UndefinedFile,
            errors.UndefinedObject,
            errors.InvalidFunctionDefinition,
        )
    ) as refused:
        app.sql(statement)
    if not isinstance(refused.value, DENIED):
        assert "EXTENSION" in statement or "plperlu" in statement, refused


def test_a_grant_grants_nothing(app: Connection) -> None:
    app.sql("GRANT UPDATE ON operations_events TO CURRENT_USER")
    with pytest.raises(DENIED):
        app.sql("UPDATE operations_events SET message = ''")


def test_vacuum_full_is_the_owners(app: Connection, migrated: str) -> None:
    """It only warns, and does nothing."""
    url = with_database(settings.APP_URL, migrated)
    with psycopg.connect(url, autocommit=True) as alone:
        notices: list[str] = []
        alone.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        with pytest.raises(DENIED):
            alone.execute("ALTER SYSTEM SET archive_command = 'id'")
        alone.execute("VACUUM FULL counters")
        assert any("permission denied" in each for each in notices)


def test_a_temporary_pg_inherits_is_not_searched(owner: Connection) -> None:
    """Even for somebody who may make one: it would run what it likes with the owner's rights."""
    owner.sql("CREATE TEMP TABLE ran (x int)")
    owner.sql(
        "CREATE FUNCTION pg_temp.ran() RETURNS oid LANGUAGE plpgsql AS "
        "$$BEGIN INSERT INTO pg_temp.ran VALUES (1); RETURN 0; END$$"
    )
    owner.sql(
        "CREATE TEMP VIEW pg_inherits AS SELECT pg_temp.ran() AS inhrelid, 0::oid AS inhparent"
    )
    owner.sql("SET LOCAL search_path = pg_temp, public")
    owner.sql("SELECT tollgate.drop_telemetry_partitions_v1(7)")
    assert owner.sql("SELECT * FROM pg_temp.ran") == []


def test_temporary_tables_are_no_proof_of_a_cap_change(owner: Connection) -> None:
    owner.sql(WORK_ORDER)
    owner.sql("CREATE TEMP TABLE operations_events (LIKE public.operations_events)")
    owner.sql("CREATE TEMP TABLE cap_changes (LIKE public.cap_changes)")
    owner.sql(
        "INSERT INTO pg_temp.operations_events (id, kind, message, owner_type, owner_id, owner_label,"
        " actor, meta, request_id, db_user, xact, created_at) VALUES (1, 'WORK_ORDER_CAP_CHANGE', '',"
        " 'work_order', 'w1', '', '', '{}', '', '', pg_current_xact_id()::text::bigint, now())"
    )
    owner.sql(
        "INSERT INTO pg_temp.cap_changes (id, wo_id, old_runs_per_day, new_runs_per_day,"
        " old_usd_per_day, new_usd_per_day, reason, by, applied_xid, applied_at) VALUES (1, 'w1',"
        " 100, 100, 2, 999999, '', '', pg_current_xact_id()::text::numeric, now())"
    )
    owner.sql("SET LOCAL search_path = pg_temp, public")
    with pytest.raises(errors.RestrictViolation, match="only through an applied cap change"):
        owner.sql("UPDATE public.work_orders SET usd_per_day = 999999 WHERE id = 'w1'")


# --- the log ---


@pytest.mark.parametrize("table", ["operations_events", "cap_changes", "seals", "change_votes"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET id = id", "DELETE FROM {}", "TRUNCATE {}"])
def test_what_is_written_stays(app: Connection, table: str, verb: str) -> None:
    column = "number = number" if table == "seals" else "reason = ''"
    if table == "change_votes":
        column = "comment = ''"
    if table == "operations_events":
        column = "message = ''"
    with pytest.raises(DENIED):
        app.sql(verb.replace("id = id", column).format(table))


def numbers(app: Connection) -> list[int]:
    return [
        row[0]
        for row in app.sql("SELECT id FROM operations_events WHERE kind = 'MINE' ORDER BY id")
    ]


@pytest.mark.parametrize("number", [-1, 0, 7, 2**62, 2**63 - 1])
def test_the_number_of_an_event_is_the_databases(app: Connection, number: int) -> None:
    told = "INSERT INTO operations_events (kind) VALUES ('MINE')"
    app.sql(told)
    app.sql(
        "INSERT INTO operations_events (id, kind) OVERRIDING SYSTEM VALUE VALUES (%s, 'MINE')",
        number,
    )
    with app.db.cursor().copy("COPY operations_events (id, kind) FROM STDIN") as copy:
        copy.write(f"{number}\tMINE\n")
    app.sql(told)
    [first, *rest] = numbers(app)
    assert rest == [first + 1, first + 2, first + 3]


def test_a_number_is_not_given_twice(app: Connection) -> None:
    """Not even the one that was just drawn."""
    app.sql("INSERT INTO operations_events (kind) VALUES ('MINE')")
    app.sql(
        "INSERT INTO operations_events (id, kind) OVERRIDING SYSTEM VALUE "
        "VALUES (currval('event_numbers'), 'MINE')"
    )
    assert len(set(numbers(app))) == 2


def test_numbers_can_only_be_skipped(app: Connection) -> None:
    app.sql("INSERT INTO operations_events (kind) VALUES ('MINE')")
    app.sql("SELECT nextval('event_numbers') FROM generate_series(1, 1000)")
    app.sql("INSERT INTO operations_events (kind) VALUES ('MINE')")
    first, second = numbers(app)
    assert second == first + 1001


def test_a_partition_is_no_way_around(app: Connection) -> None:
    """What is written into one directly is stamped too."""
    [(partition,)] = app.sql(
        "SELECT to_char(now() AT TIME ZONE 'UTC', '\"operations_events_\"YYYY_MM')"
    )
    app.sql(
        f"INSERT INTO {partition} (id, kind, db_user, meta, message, created_at) OVERRIDING SYSTEM VALUE "
        "VALUES (-5, 'MINE', 'x', '{}', '', now())"
    )
    [(number, user)] = app.sql("SELECT id, db_user FROM operations_events WHERE kind = 'MINE'")
    assert number > 0
    assert user == APP
    with pytest.raises(DENIED):
        app.sql(f"UPDATE {partition} SET message = ''")
    with pytest.raises(DENIED):
        app.sql(f"TRUNCATE {partition}")


def test_a_plain_number_is_refused(app: Connection) -> None:
    with pytest.raises(errors.GeneratedAlways):
        app.sql("INSERT INTO operations_events (id, kind) VALUES (7, 'MINE')")


def test_who_wrote_is_stamped_whoever_is_named(app: Connection) -> None:
    """The actor can be anybody: it is what the application says. The database user is not said."""
    app.sql("SELECT set_config('tollgate.actor', 'vp', true)")
    app.sql(
        "INSERT INTO kill_switches (scope, target, enabled, reason, changed_by, changed_at) "
        "VALUES ('Global', '', false, 'x', 'vp', now()) ON CONFLICT DO NOTHING"
    )
    app.sql("UPDATE kill_switches SET enabled = NOT enabled WHERE scope = 'Global'")
    assert app.events("KILL_SWITCH_CHANGE")[-1][2:4] == ("vp", APP)
    app.sql(
        "INSERT INTO operations_events (kind, actor, db_user, xact) VALUES ('MINE', 'vp', 'x', 7)"
    )
    [(_, _, actor, user, _)] = app.events("MINE")
    assert (actor, user) == ("vp", APP)


def test_a_time_that_was_not_now_is_refused(app: Connection) -> None:
    with pytest.raises(errors.CheckViolation):
        app.sql("INSERT INTO operations_events (kind, created_at) VALUES ('MINE', '2020-01-01')")


def test_what_is_installed_is_not_the_applications_to_say(app: Connection) -> None:
    for statement in ("UPDATE tollgate.installed SET hash = ''", "DELETE FROM tollgate.installed"):
        with pytest.raises(DENIED):
            app.sql(statement)


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
    told = app.events(kind)[before:]
    assert told
    assert {each[3] for each in told} == {APP}


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


# --- what it can do, and what shows it (SECURITY.md) ---


def test_counters_can_be_lowered(app: Connection) -> None:
    """No event: `verify_counters` recomputes them from the runs."""
    app.sql("UPDATE counters SET settled_usd = 0, reserved_usd = 0, runs = 0")
    assert app.events("COUNTERS_CHANGED") == []


def test_sessions_and_replays_are_readable_and_writable(app: Connection) -> None:
    """Whoever reads a session's key is that person until it ends. What is *in* a session is signed
    with SECRET_KEY, and so is not to be forged."""
    app.sql("SELECT session_key FROM django_session")
    app.sql("DELETE FROM idempotency_records")
    app.sql("DELETE FROM sign_in_tries")


def test_a_run_can_be_settled_as_any_token(app: Connection) -> None:
    """The routine is what the application itself calls, with the digest that it looks up. It writes
    the event, as it does for each."""
    app.sql(WORK_ORDER)
    app.sql(TOKEN, person(app))
    [(run,)] = app.sql(
        RUN.replace("lease_seconds)", "lease_seconds, token_id)").replace(
            "900)", "900, (SELECT max(id) FROM service_tokens))"
        )
    )
    [(status,)] = app.sql(
        "SELECT status FROM tollgate.finish_run_v1((SELECT digest FROM service_tokens WHERE prefix = "
        "'tg_mine0'), '127.0.0.1', %s, 'success', 0, NULL, NULL, NULL, 'f', 'r')",
        run,
    )
    assert status == 200
    assert [each[3] for each in app.events("RUN_FINISHED")] == [APP]
    assert app.events("RUN_CHANGED") == []


@pytest.mark.parametrize(
    "call",
    [
        "extend_run_v1('x', '127.0.0.1', gen_random_uuid(), -1, 900, '', '', '', NULL, 20)",
        "extend_run_v1('x', '127.0.0.1', gen_random_uuid(), 'NaN', 900, '', '', '', NULL, 20)",
        "extend_run_v1('x', '127.0.0.1', gen_random_uuid(), 1, 99999999, '', '', '', NULL, 20)",
        "finish_run_v1('x', '127.0.0.1', gen_random_uuid(), 'success', 'NaN', NULL, NULL, NULL, '', '')",
        "correct_cost_v1('run', gen_random_uuid(), 1, 2, 'vp', '{\"correctionId\": 1}', '')",
    ],
)
def test_routines_with_the_owners_rights_take_no_nonsense(app: Connection, call: str) -> None:
    with pytest.raises(errors.CheckViolation):
        app.sql(f"SELECT tollgate.{call}")


def test_it_ends_no_connection_but_its_own(app: Connection, owner: Connection) -> None:
    with pytest.raises(DENIED):
        app.sql("SELECT pg_terminate_backend(%s)", owner.db.info.backend_pid)


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


# --- people, tokens ---


def test_a_superuser_by_hand_leaves_an_event(app: Connection) -> None:
    number = person(app)
    assert len(app.events("USER_CREATED")) == 1
    app.sql("UPDATE auth_user SET is_superuser = true WHERE id = %s", number)
    [(kind, subject, actor, user, meta)] = app.events("USER_CHANGED")
    assert (kind, subject, actor, user) == ("user", str(number), APP, APP)
    assert meta["changes"] == {"is_superuser": {"old": False, "new": True}}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("is_active", "false"),
        ("is_staff", "false"),
        ("username", "'else'"),
        ("email", "'else@example.org'"),
        ("password", "'another-hash'"),
        ("first_name", "'Else'"),
    ],
)
def test_an_account_changed_by_hand_leaves_an_event(
    app: Connection, column: str, value: str
) -> None:
    number = person(app)
    app.sql(f"UPDATE auth_user SET {column} = {value} WHERE id = %s", number)
    [(*_, meta)] = app.events("USER_CHANGED")
    assert set(meta["changes"]) == {column}
    assert "hash" not in str(meta)


def test_a_number_exchanged_for_anothers_leaves_an_event(app: Connection) -> None:
    """Groups and votes are those of a number."""
    vp, mallory = person(app, "vp"), person(app)
    app.sql("UPDATE auth_user SET id = -1 WHERE id = %s", vp)
    app.sql("UPDATE auth_user SET id = %s WHERE id = %s", vp, mallory)
    told = [each[4]["changes"] for each in app.events("USER_CHANGED")]
    assert {"id": {"old": mallory, "new": vp}} in told


def test_a_membership_by_hand_leaves_an_event(app: Connection) -> None:
    """From when on votes count is a row, too."""
    number = person(app)
    app.sql(
        "INSERT INTO memberships (person_id, group_id, how, counts_from)"
        " SELECT %s, id, 'before', '2020-01-01' FROM auth_group WHERE name = 'vp'",
        number,
    )
    [(*_, meta)] = app.events("USER_CHANGED")
    assert meta["changes"]["counts_from"]["new"].startswith("2020-01-01")


def test_a_link_to_an_identity_provider_by_hand_leaves_an_event(app: Connection) -> None:
    number = person(app)
    app.sql(
        "INSERT INTO socialaccount_socialaccount"
        " (user_id, provider, uid, last_login, date_joined, extra_data)"
        " VALUES (%s, 'oidc', 'mallory', now(), now(), '{}')",
        number,
    )
    [(*_, meta)] = app.events("USER_CHANGED")
    assert meta["changes"] == {"single_sign_on": {"old": None, "new": "mallory"}}


def test_a_log_in_is_no_change_of_an_account(app: Connection) -> None:
    number = person(app)
    app.sql("UPDATE auth_user SET last_login = now() WHERE id = %s", number)
    assert app.events("USER_CHANGED") == []


@pytest.mark.parametrize(
    ("table", "sql", "part"),
    [
        (
            "auth_user_groups",
            (
                "INSERT INTO auth_user_groups (user_id, group_id) "
                "SELECT %s, id FROM auth_group WHERE name = 'finance'"
            ),
            "groups",
        ),
        (
            "auth_user_user_permissions",
            (
                "INSERT INTO auth_user_user_permissions (user_id, permission_id) "
                "SELECT %s, id FROM auth_permission WHERE codename = 'change_user'"
            ),
            "permissions",
        ),
    ],
)
def test_rights_given_by_hand_leave_an_event(
    app: Connection, table: str, sql: str, part: str
) -> None:
    number = person(app)
    app.sql(sql, number)
    [(_, subject, _, _, meta)] = app.events("USER_CHANGED")
    assert subject == str(number)
    assert len(meta["changes"][part]["new"]) == 1
    app.sql(f"DELETE FROM {table} WHERE user_id = %s", number)
    *_, meta = app.events("USER_CHANGED")[-1]
    assert len(meta["changes"][part]["old"]) == 1


def test_permissions_of_a_group_leave_an_event(app: Connection) -> None:
    app.sql(
        "INSERT INTO auth_group_permissions (group_id, permission_id) SELECT g.id, p.id "
        "FROM auth_group g, auth_permission p WHERE g.name = 'auditor' AND p.codename = 'delete_user'"
    )
    [(kind, *_, meta)] = app.events("GROUP_CHANGED")
    assert (kind, meta["changes"]["permissions"]["new"]) == ("group", ["delete_user"])
    app.sql("UPDATE auth_group SET name = 'else' WHERE name = 'auditor'")
    assert len(app.events("GROUP_CHANGED")) == 2


def test_what_a_permission_means_is_the_owners(app: Connection) -> None:
    for statement in (
        "UPDATE auth_permission SET codename = 'change_user' WHERE codename = 'view_user'",
        "UPDATE django_content_type SET model = 'user' WHERE model = 'group'",
        "DELETE FROM django_migrations",
    ):
        with pytest.raises(DENIED):
            app.sql(statement)


def test_an_event_that_lies_does_not_silence_the_trigger(app: Connection) -> None:
    number = person(app)
    app.sql("UPDATE auth_user SET is_superuser = true WHERE id = %s", number)
    app.sql(
        "INSERT INTO operations_events (kind, owner_type, owner_id, meta) VALUES ('USER_CHANGED', "
        '\'user\', %s, \'{"changes": {"email": {"old": "", "new": ""}}}\')',
        str(number),
    )
    lie, truth = app.events("USER_CHANGED")
    assert "is_superuser" not in lie[4]["changes"]
    assert truth[4]["changes"] == {"is_superuser": {"old": False, "new": True}}


def test_what_the_application_tells_is_told_once(app: Connection) -> None:
    number = person(app)
    app.sql("UPDATE auth_user SET is_staff = false WHERE id = %s", number)
    app.sql(
        "INSERT INTO operations_events (kind, owner_type, owner_id, meta) VALUES ('USER_CHANGED', "
        '\'user\', %s, \'{"changes": {"is_staff": {"old": true, "new": false}}}\')',
        str(number),
    )
    assert len(app.events("USER_CHANGED")) == 1


def test_a_token_by_hand_leaves_an_event(app: Connection) -> None:
    [(token,)] = app.sql(TOKEN, person(app))
    [(kind, subject, _, user, meta)] = app.events("TOKEN_CREATED")
    assert (kind, subject, user) == ("service_token", str(token), APP)
    assert meta["changes"]["scopes"]["new"] == ["admin", "start"]
    assert len(meta["changes"]["digest"]["new"]) == 12
    app.sql("UPDATE service_tokens SET expires_at = now() + interval '9 years'")
    app.sql("UPDATE service_tokens SET scopes = '{read}'")
    assert [set(each[4]["changes"]) for each in app.events("TOKEN_CHANGED")] == [
        {"expires_at"},
        {"scopes"},
    ]
    with pytest.raises(errors.RestrictViolation):
        app.sql("UPDATE service_tokens SET digest = sha256('y')")
    app.sql("UPDATE service_tokens SET revoked_at = now()")
    app.sql("UPDATE service_tokens SET revoked_at = NULL")
    assert len(app.events("TOKEN_REVOKED")) == 1
    assert app.events("TOKEN_CHANGED")[-1][4]["changes"]["revoked_at"]["new"] is None


def test_settings_of_work_orders_and_agents_leave_an_event(app: Connection) -> None:
    app.sql(WORK_ORDER)
    app.sql("UPDATE work_orders SET refuse_unknown_agents = true, team = 'else'")
    app.sql("INSERT INTO agents (name) VALUES ('a')")
    app.sql("UPDATE agents SET is_active = false")
    [(*_, work_order)], [(*_, agent)] = (
        app.events("WORK_ORDER_CHANGED"),
        app.events("AGENT_CHANGED"),
    )
    assert set(work_order["changes"]) == {"refuse_unknown_agents", "team"}
    assert set(agent["changes"]) == {"is_active"}


def test_it_is_written_when_the_transaction_ends(app: Connection, migrated: str) -> None:
    """Without anybody who asks for it."""
    number = person(app, "committed")
    app.db.commit()
    assert app.sql(
        "SELECT count(*) FROM operations_events WHERE kind = 'USER_CREATED' AND owner_id = %s",
        str(number),
    ) == [(1,)]


# --- the job queue ---

SCHEDULE = """INSERT INTO django_q_schedule (func, schedule_type, repeats, next_run)
VALUES ('os.system', 'I', -1, now())"""


@pytest.mark.parametrize(
    "statement",
    [
        SCHEDULE,
        "DELETE FROM django_q_schedule",
        "UPDATE django_q_schedule SET func = 'os.system'",
        "UPDATE django_q_schedule SET hook = 'os.system'",
        "UPDATE django_q_schedule SET kwargs = 'q_options={}'",
        "UPDATE django_q_schedule SET repeats = 0",
        "UPDATE django_q_schedule SET id = id + 100",
    ],
)
def test_schedules_are_the_owners(app: Connection, statement: str) -> None:
    with pytest.raises(DENIED):
        app.sql(statement)


def test_a_schedule_can_be_put_off(app: Connection) -> None:
    """The worker does so with each; whoever has its role can. `/readyz` shows it."""
    app.sql("UPDATE django_q_schedule SET next_run = next_run + interval '1 hour', task = 'x'")


def test_nothing_in_the_queues_records_is_ever_unpickled(app: Connection) -> None:
    app.sql(
        "INSERT INTO django_q_task (id, name, func, hook, args, kwargs, result, started, stopped,"
        " success, attempt_count) VALUES ('x', 'x', 'x', 'os.system', 'gASV', 'gASV', 'gASV',"
        " now(), now(), true, 1)"
    )
    app.sql("UPDATE django_q_task SET result = 'gASV', hook = 'os.system'")
    assert app.sql("SELECT hook, args, kwargs, result FROM django_q_task") == [(None,) * 4]
