"""What somebody who has the application's database role tries, and what comes of it."""

import psycopg
import pytest
from django.conf import settings
from psycopg import errors

from config.run.scratch import with_database
from tests.roles.conftest import Connection
from tests.roles.rows import RUN, TOKEN, WORK_ORDER, person

APP = str(settings.DATABASES["default"]["USER"])
DENIED = errors.InsufficientPrivilege


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
    result = "INSERT INTO operations_events (kind) VALUES ('MINE')"
    app.sql(result)
    app.sql(
        "INSERT INTO operations_events (id, kind) OVERRIDING SYSTEM VALUE VALUES (%s, 'MINE')",
        number,
    )
    with app.db.cursor().copy("COPY operations_events (id, kind) FROM STDIN") as copy:
        copy.write(f"{number}\tMINE\n")
    app.sql(result)
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
    """The actor can be anybody: it is what the application sets. The database user is not."""
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


def test_a_batch_of_finishes_settles_nothing_that_one_alone_would_not(app: Connection) -> None:
    """It changes runs with the owner's rights, and judges the token and the cost of each."""
    app.sql(WORK_ORDER)
    app.sql(TOKEN, person(app))
    other = TOKEN.replace("mine0", "other").replace("{admin,start}", "{read}").replace("'x'", "'y'")
    app.sql(other, person(app, "other"))
    [(run,)] = app.sql(
        RUN.replace("lease_seconds)", "lease_seconds, token_id)").replace(
            "900)", "900, (SELECT id FROM service_tokens WHERE prefix = 'tg_mine0'))"
        )
    )

    def settled(text: str, cost: str, status: str = "success") -> tuple[int, str, str]:
        [(answer,)] = app.sql(
            "SELECT s.answers[1]::json FROM tollgate.settle_batch_v1(ARRAY[row(0, 'finish', sha256(%s),"
            " '127.0.0.1', '', NULL, 'f', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,"
            " NULL, NULL, NULL, NULL, NULL, %s, %s, %s)]::tollgate.ask[]) s",
            *(text.encode(), run, status, cost),
        )
        return answer["status"], answer["denial"], answer["error"]

    assert settled("nobody", "0.1")[:2] == (401, "token")
    assert settled("y", "0.1")[:2] == (403, "scope")
    assert settled("x", "NaN") == (0, "alone", errors.CheckViolation.sqlstate)
    assert settled("x", "-0.1") == (0, "alone", errors.CheckViolation.sqlstate)
    assert settled("x", "1000001") == (0, "alone", errors.CheckViolation.sqlstate)
    assert settled("x", "0.1", "running") == (0, "alone", errors.CheckViolation.sqlstate)
    assert app.sql("SELECT status, cost FROM work_order_runs") == [("running", None)]
    # Two of one number, of which only one would be judged.
    with pytest.raises(errors.CheckViolation):
        app.sql(
            "SELECT tollgate.settle_batch_v1(ARRAY(SELECT x FROM json_populate_recordset("
            'NULL::tollgate.ask, \'[{"n": 0, "cost": 0.1}, {"n": 0, "cost": "NaN"}]\') x))'
        )
    # What writes is no way around it: called by itself it has the caller's rights.
    with pytest.raises(DENIED):
        app.sql("SELECT tollgate.settle_clear('{}')")
    assert settled("x", "0.1")[0] == 200
    assert [each[3] for each in app.events("RUN_FINISHED")] == [APP]
    assert app.events("RUN_CHANGED") == []


def test_it_ends_no_connection_but_its_own(app: Connection, owner: Connection) -> None:
    with pytest.raises(DENIED):
        app.sql("SELECT pg_terminate_backend(%s)", owner.db.info.backend_pid)


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
