"""What leaves the process for Sentry, read byte by byte at a server that takes its place."""

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from config.run.children import BASE_DIR
from config.run.scratch import child_environment, scratch_database
from tests.waiting import HANG_SECONDS

SECRETS = {
    "NOTIFY_URLS": "tgram://123456:channelsecret/42",
    "SEAL_WEBHOOK_URL": "http://127.0.0.1:9/hook/sealsecret?key=querysecret",
    "HEALTHCHECK_URL": "http://127.0.0.1:9/ping/pingsecret",
    "SECRET_KEY": "sessionsecret-sessionsecret-sessionsecret-sessionsecret",
}
HIDDEN = [
    b"channelsecret", b"sealsecret", b"querysecret", b"pingsecret", b"sessionsecret", b"rowsecret",
    b"headersecret", b"tokensecret", b"otherchannel", b"localsecret",
]  # fmt: skip
PROGRAM = """
import logging
import httpx2, sentry_sdk
from django.conf import settings
from django.db import connection, DatabaseError
from workorders.models import WorkOrder
log = logging.getLogger("tollgate")

def capture(act):
    try:
        act()
    except Exception as error:
        sentry_sdk.capture_exception(error)
        log.exception("it failed: %s", error)

def fails(text):
    local = "localsecret"
    raise ValueError(text)

WorkOrder.objects.filter(title="rowsecret").count()
capture(lambda: connection.cursor().execute("SELECT 'rowsecret' FROM nowhere"))
capture(lambda: WorkOrder.objects.create(id="rowsecret", title="rowsecret", status="rowsecret"))
capture(lambda: httpx2.post(settings.TOLLGATE_SEAL_WEBHOOK_SECRET_URL))
capture(lambda: fails(f"no answer of {settings.TOLLGATE_HEALTHCHECK_SECRET_URL}"))
capture(lambda: fails("channel discord://otherchannel/otherchannel is gone"))
capture(lambda: fails("Authorization: Bearer headersecret"))
log.error("channel %s failed", settings.TOLLGATE_NOTIFY_SECRET_URLS[0])
log.error("token tg_tokensecret_tokensecret", extra={"headers": {"x": settings.SECRET_KEY}})
sentry_sdk.capture_message("the marker that arrives")
sentry_sdk.flush(60)
"""


@pytest.fixture
def sink() -> Iterator[tuple[str, list[bytes]]]:
    taken: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            zipped = self.headers.get("Content-Encoding") == "gzip"
            taken.append(gzip.decompress(body) if zipped else body)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://publickey@127.0.0.1:{server.server_address[1]}/1", taken
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_no_credential_leaves_the_process(
    pristine_database: str, sink: tuple[str, list[bytes]]
) -> None:
    dsn, taken = sink
    with scratch_database(pristine_database) as database:
        ended = subprocess.run(
            [sys.executable, "manage.py", "shell", "--no-imports", "-c", PROGRAM],
            cwd=BASE_DIR,
            env=child_environment(database, {**SECRETS, "SENTRY_DSN": dsn}),
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr
    sent = b"\n".join(taken)
    assert b"the marker that arrives" in sent
    assert b"ValueError" in sent
    assert b"IntegrityError" in sent
    assert sent.count(b'"exception"') >= 5
    assert [secret for secret in HIDDEN if secret in sent] == []
    assert b'"breadcrumbs"' not in sent
