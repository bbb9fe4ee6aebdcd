"""What the application's role can do that it should not: asked of the catalogue, line by line.

Grants and settings of routines do not stay as they were made: a database is cloned or restored
without its own privileges, somebody grants a role, a new table or routine forgets the rule. The
rule is `opslog.database.roles` and `opslog.database.routines`; this finds what is not as they say.
"""

from typing import Any

from django.conf import settings
from django.db import connections

from opslog.database.roles import APPEND_ONLY_TABLES, UPDATED_BY_WORKER, refused
from opslog.database.routines import SEARCH_PATH

# Run with the owner's rights, and so by name: each takes nothing that it does not check.
DEFINERS = frozenset(
    {
        "correct_cost_v1",
        "drop_telemetry_partitions_v1",
        "ensure_event_partitions_v1",
        "ensure_telemetry_partitions_v1",
        "extend_run_v1",
        "fill",
        "finish_run_v1",
        "reap_v1",
        "settle_batch_v1",
    }
)

ROLE = """
SELECT array_remove(ARRAY[
        CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
        CASE WHEN rolcreatedb THEN 'CREATEDB' END, CASE WHEN rolreplication THEN 'REPLICATION' END,
        CASE WHEN rolbypassrls THEN 'BYPASSRLS' END], NULL),
    ARRAY(SELECT m.roleid::regrole::text FROM pg_auth_members m WHERE m.member = r.oid)
FROM pg_roles r WHERE rolname = %(role)s
"""
DATABASE = """
SELECT ARRAY(SELECT p FROM unnest(ARRAY['CREATE', 'TEMPORARY']) p
    WHERE has_database_privilege(%(role)s, current_database(), p)),
  ARRAY(SELECT n.nspname::text FROM pg_namespace n
    WHERE n.nspname !~ '^pg_(toast|temp)' AND has_schema_privilege(%(role)s, n.oid, 'CREATE')),
  ARRAY(SELECT c.oid::regclass::text FROM pg_class c WHERE pg_get_userbyid(c.relowner) = %(role)s
        AND c.relnamespace::regnamespace::text IN ('public', 'tollgate'))
"""
ROUTINES = """
SELECT p.proname, p.prosecdef, has_function_privilege('public', p.oid, 'EXECUTE'),
    p.prokind <> 'f' OR NOT (p.prosecdef OR l.lanname = 'plpgsql')
        OR %(path)s = ANY (coalesce(p.proconfig, '{}'))
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'tollgate'::regnamespace
"""
ELSEWHERE = """
SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.prosecdef
    AND p.pronamespace NOT IN ('tollgate'::regnamespace, 'pg_catalog'::regnamespace)
    AND has_function_privilege(%(role)s, p.oid, 'EXECUTE')
"""
TABLES = """
SELECT c.relnamespace::regnamespace::text, c.relname, coalesce(parent.relname, c.relname),
    c.relkind = 'S',
    ARRAY(SELECT a.privilege_type FROM aclexplode(c.relacl) a
        WHERE a.grantee IN (0, %(role)s::regrole) ORDER BY 1),
    ARRAY(SELECT a.grantee::regrole::text FROM aclexplode(c.relacl) a
        WHERE a.is_grantable AND a.grantee <> c.relowner)
FROM pg_class c
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class parent ON parent.oid = i.inhparent
WHERE c.relnamespace::regnamespace::text IN ('public', 'tollgate')
    AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
"""
TRIGGERS = """
SELECT c.relname, coalesce(parent.relname, c.relname),
    ARRAY(SELECT t.tgname::text FROM pg_trigger t
        WHERE t.tgrelid = c.oid AND t.tgenabled IN ('O', 'A'))
FROM pg_class c
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class parent ON parent.oid = i.inhparent
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
    AND coalesce(parent.relname, c.relname) = ANY (%(tables)s)
"""
NEVER = {"TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN"}


def problems(using: str = "default") -> list[str]:
    """A line for each privilege that the application's role should not have; with one role
    for everything there is no such question, and none is asked."""
    role = settings.DATABASES["default"]["USER"]
    with connections[using].cursor() as cursor:

        def rows(sql: str, **params: Any) -> list[tuple[Any, ...]]:
            cursor.execute(sql, {"role": role, **params})
            return list(cursor.fetchall())

        return [
            *of_the_role(rows(ROLE)),
            *of_the_database(rows(DATABASE)),
            *of_routines(rows(ROUTINES, path=f"search_path={SEARCH_PATH}")),
            *(f"{name} runs with its owner's rights" for (name,) in rows(ELSEWHERE)),
            *of_tables(rows(TABLES)),
            *of_triggers(rows(TRIGGERS, tables=sorted(APPEND_ONLY_TABLES))),
        ]


def of_the_role(rows: list[tuple[Any, ...]]) -> list[str]:
    [(attributes, member_of)] = rows
    return [
        *(f"the role has {each}" for each in attributes),
        *(f"the role is a member of {each}" for each in member_of),
    ]


def of_the_database(rows: list[tuple[Any, ...]]) -> list[str]:
    [(privileges, schemas, owned)] = rows
    return [
        *(f"the role has {each} on the database" for each in privileges),
        *(f"the role has CREATE on schema {each}" for each in schemas),
        *(f"the role owns {each}" for each in owned),
    ]


def of_routines(rows: list[tuple[Any, ...]]) -> list[str]:
    found = []
    for name, definer, public, fixed in rows:
        if definer and name not in DEFINERS:
            found.append(f"tollgate.{name} runs with its owner's rights and is not listed")
        if public:
            found.append(f"tollgate.{name} may be executed by everybody")
        if not fixed:
            found.append(f"tollgate.{name} has no fixed search_path")
    return found


def of_tables(rows: list[tuple[Any, ...]]) -> list[str]:
    found = []
    for schema, name, parent, is_sequence, privileges, grantable in rows:
        if schema == "tollgate":
            forbidden = {"INSERT", "UPDATE", "DELETE"} | NEVER
        elif is_sequence:
            forbidden = {"UPDATE"}
        else:
            forbidden = set(refused(parent)) | NEVER
        if parent in UPDATED_BY_WORKER:
            forbidden -= {"UPDATE"}
        found += [f"the role has {each} on {name}" for each in privileges if each in forbidden]
        found += [f"{each} may grant privileges on {name}" for each in grantable]
    return found


def of_triggers(rows: list[tuple[Any, ...]]) -> list[str]:
    found = []
    for name, parent, triggers in rows:
        wanted = {"append_only", "append_only_truncate"}
        wanted |= {"stamp"} if parent == "operations_events" else set()
        found += [f"{name} has no trigger {each}" for each in sorted(wanted - set(triggers))]
    return found
