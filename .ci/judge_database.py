"""Has plpgsql_check judge the stored routines, and squawk the migrations after each app's first.

On a throw-away PostgreSQL of the system's packages.

`.ci/lint` runs it. Says what is left out where the package is not there (Debian:
postgresql-15-plpgsql-check). Exit code 1 and a line each for what is found.
"""

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from config.run.embedded import free_port
from config.run.privileges import ServerUser

SERVERS = Path("/usr/lib/postgresql")
ROLES = ("tollgate_owner", "tollgate_app")
ROUTINES = """
SELECT p.oid, p.oid::regprocedure::text, coalesce(t.tgrelid, 0), t.tgrelid::regclass::text,
    t.tgoldtable, t.tgnewtable
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
LEFT JOIN pg_trigger t ON t.tgfoid = p.oid AND t.tgparentid = 0
WHERE p.pronamespace = 'tollgate'::regnamespace AND l.lanname = 'plpgsql'
    AND (p.prorettype <> 'trigger'::regtype OR t.oid IS NOT NULL)
ORDER BY 2, 4
"""
CHECK = """
SELECT level, lineno, message, hint FROM plpgsql_check_function_tb(%s, relid => %s, oldtable => %s,
    newtable => %s, security_warnings => true, fatal_errors => false)
"""
APPS = ("opslog", "workorders", "budgets")
# The application's connections have a lock_timeout; a column's type is not a matter of locks.
TASTE = (
    "require-lock-timeout,require-statement-timeout,prefer-bigint-over-int,"
    "prefer-bigint-over-smallint,prefer-text-field,prefer-robust-stmts,prefer-identity,prefer-timestamp-tz"
)
# Made where the server has it: pg_logical_emit_message takes a fourth argument from 17 on.
KNOWN = re.compile(r"pg_logical_emit_message\(boolean, unknown, unknown, boolean\)")


def server() -> Path | None:
    """The folder of the newest server's programs that has the extension."""
    found = [path.parent.parent for path in SERVERS.glob("*/lib/plpgsql_check.so")]
    return max(found, key=lambda path: int(path.name)) / "bin" if found else None


def main() -> int:
    programs = server()
    if programs is None:
        print("left out: no PostgreSQL with plpgsql_check is installed")
        return 0
    folder = Path(tempfile.mkdtemp(prefix="tollgate-routines-"))
    user = ServerUser.choose(folder / "cluster")
    user.own(folder)
    process = None
    try:
        password, port = secrets.token_hex(16), free_port()
        secret = folder / "password"
        secret.write_text(password)
        user.own(secret)
        argv = [str(programs / "initdb"), "-D", str(folder / "cluster"), "-U", "postgres", "-N"]
        argv += ["-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "--locale=C"]
        log = (folder / "log").open("ab")
        initdb = user.popen(argv, output=log.fileno(), on_parent_death=9, cwd=folder)
        if initdb.wait() != 0:
            print((folder / "log").read_text())
            return 1
        argv = [str(programs / "postgres"), "-D", str(folder / "cluster"), "-p", str(port)]
        argv += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-F"]
        process = user.popen(argv, output=log.fileno(), on_parent_death=9, cwd=folder)
        url = f"127.0.0.1:{port}"
        with connect(f"postgres://postgres:{password}@{url}/postgres") as db:
            for role in ROLES:
                db.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
            db.execute("CREATE DATABASE tollgate OWNER tollgate_owner")
        owner, app = (f"postgres://{role}:{password}@{url}/tollgate" for role in ROLES)
        environment = {"DATABASE_URL": app, "TOLLGATE_OWNER_DATABASE_URL": owner}
        os.environ |= {**environment, "SECRET_KEY": secrets.token_hex()}
        manage("migrate", "--database", "owner", "-v", "0", "--skip-checks")
        with connect(f"postgres://postgres:{password}@{url}/tollgate") as db:
            return max(judge(db), judge_migrations(folder))
    finally:
        if process is not None:
            process.terminate()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def connect(url: str) -> "psycopg.Connection[tuple[object, ...]]":
    deadline = time.monotonic() + 60
    while True:
        try:
            return psycopg.connect(url, autocommit=True)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def manage(*words: str) -> str:
    return subprocess.run(
        [sys.executable, "manage.py", *words], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def judge_migrations(folder: Path) -> int:
    """Those after the first: what is made anew nobody waits for."""
    files = []
    for app in APPS:
        for path in sorted(Path(app, "migrations").glob("[0-9]*.py"))[1:]:
            file = folder / f"{app}.{path.stem}.sql"
            file.write_text(manage("sqlmigrate", app, path.stem, "--database", "owner"))
            files.append(file)
    squawk = Path(sys.executable).parent / "squawk"
    argv = [squawk, "--pg-version", "15", "--exclude", TASTE, "--reporter", "gcc", *files]
    return subprocess.run(argv, check=False).returncode if files else 0


def judge(db: "psycopg.Connection[tuple[object, ...]]") -> int:
    db.execute("CREATE EXTENSION plpgsql_check")
    found = 0
    for oid, signature, relation, table, old, new in db.execute(ROUTINES).fetchall():
        for level, line, message, hint in db.execute(CHECK, [oid, relation, old, new]).fetchall():
            if KNOWN.search(str(message)):
                continue
            found += 1
            on = f" on {table}" if table else ""
            print(f"{signature}{on}, line {line}: {level}: {message} {hint or ''}".rstrip())
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
