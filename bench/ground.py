"""A PostgreSQL of the bench's own, durable as in production, and databases filled by fixture."""

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from config.run.data_folder import DataFolder
from config.run.embedded import EmbeddedPostgres

TOKEN = "tg_bench"  # noqa: S105  (of a database that lives for minutes)
HOT = "hot"
SPREAD = [f"spread-{number}" for number in range(1000)]
CAPPED, CROWDED = "capped", "crowded"  # one run a day, one run at a time
HUGE = 1_000_000_000  # within every column that holds a limit
RUNS = f"CASE id WHEN '{CAPPED}' THEN 1 ELSE {HUGE} END"
AT_ONCE = f"CASE id WHEN '{CROWDED}' THEN 1 ELSE {HUGE} END"
FIXTURE = f"""
INSERT INTO auth_user (username, password, is_active, is_superuser, is_staff, first_name, last_name,
    email, date_joined) VALUES ('bench', '', true, false, false, '', '', '', now());
INSERT INTO service_tokens (name, prefix, digest, scopes, owner_id)
    SELECT 'bench', 'tg_bench', sha256('{TOKEN}'), ARRAY['ingest', 'start'], id FROM auth_user;
INSERT INTO agents (name) VALUES ('bench');
INSERT INTO model_prices (model, source, effective_from, input_per_mtok, output_per_mtok,
    cached_input_per_mtok, tiers, tier)
    VALUES ('bench-model', 'own', '2020-01-01', 1, 4, 0.1, '[]', 'middle');
INSERT INTO work_orders (id, title)
    SELECT name, name
    FROM unnest($names${{{",".join([HOT, *SPREAD, CAPPED, CROWDED])}}}$names$::text[]) name;
UPDATE budgets SET amount = {HUGE} WHERE scope <> 'work_order';
INSERT INTO cap_changes (wo_id, old_runs_per_day, new_runs_per_day, old_usd_per_day,
    new_usd_per_day, old_max_concurrent_runs, new_max_concurrent_runs, reason, by)
    SELECT id, runs_per_day, {RUNS}, usd_per_day, {HUGE}, max_concurrent_runs, {AT_ONCE},
        'limits of the bench', 'bench'
    FROM work_orders;
INSERT INTO operations_events (kind, message, owner_type, owner_id, actor)
    SELECT 'WORK_ORDER_CAP_CHANGE', 'limits of the bench', 'work_order', id, 'bench'
    FROM work_orders;
UPDATE work_orders SET runs_per_day = {RUNS}, usd_per_day = {HUGE}, max_concurrent_runs = {AT_ONCE};
"""


@dataclass
class Ground:
    """The running server and the name of a migrated, filled database to clone."""

    server: EmbeddedPostgres
    template: str

    def superuser_url(self, database: str) -> str:
        return self.server.url("postgres", self.server._passwords(), database)

    def app_url(self, database: str) -> str:
        return self.server.url("tollgate_app", self.server._passwords(), database)

    @property
    def pid(self) -> int:
        assert self.server.process is not None
        return self.server.process.pid

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """All processes of the database stand still."""
        parent = psutil.Process(self.pid)
        processes = [parent, *parent.children(recursive=True)]
        try:
            for each in processes:
                each.suspend()
            yield
        finally:
            for each in processes:
                with suppress(psutil.NoSuchProcess):
                    each.resume()

    def stop_immediately(self) -> None:
        """What `pg_ctl stop -m immediate` does: no checkpoint, nothing written any more."""
        assert self.server.process is not None
        self.server.process.send_signal(signal.SIGQUIT)
        self.server.process.wait()

    def start_again(self) -> None:
        """On the same port, so that everybody's addresses stay true."""
        port = self.server.port
        self.server.start()
        assert self.server.port == port, "another program took the port of the stopped server"


@contextmanager
def ground() -> Iterator[Ground]:
    """Starts the server and reads the settings; nothing of Django may be imported before."""
    temporary = Path(tempfile.mkdtemp(prefix="tollgate-bench-"))
    temporary.chmod(0o711)
    server = EmbeddedPostgres(DataFolder(temporary / "data"))
    try:
        server.start()
        os.environ.update(
            DATABASE_URL=server.folder.app_url(),
            TOLLGATE_OWNER_DATABASE_URL=server.folder.owner_url(),
            SECRET_KEY=secrets.token_urlsafe(50),
            DJANGO_SETTINGS_MODULE="bench.settings",
        )
        from config.run.scratch import scratch_database

        with scratch_database() as template:
            made = Ground(server, template)
            with psycopg.connect(made.superuser_url(template), autocommit=True) as owner:
                owner.execute(FIXTURE)
                owner.execute("VACUUM ANALYZE")
            yield made
    finally:
        server.stop()
        shutil.rmtree(temporary, ignore_errors=True)
