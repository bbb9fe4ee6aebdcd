"""The mirror in Redis, the health ping and Sentry: notified, and never in the way."""

import gzip
import http.server
import json
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
import sentry_sdk

from budgets import alerts, tasks
from budgets.admission import Caller, direct_spend
from budgets.models import Alert
from budgets.tasks import mirror_spend, ping_health
from budgets.usage import redis_mirror
from config.run.embedded import free_port
from opslog.outbox import health_ping
from tests import factories
from tests.outbox.sinks import HttpSink, served
from tests.waiting import in_time, wait_until
from workorders import tokens

pytestmark = pytest.mark.django_db


class Speaker(socketserver.StreamRequestHandler):
    """The commands that are used, in Redis' protocol: the driver and the socket are real, and no
    machine that tests needs a Redis."""

    def handle(self) -> None:
        kept: dict[bytes, tuple[bytes, int]] = self.server.kept  # type: ignore[attr-defined]
        while line := self.rfile.readline():
            words = [self._word() for _ in range(int(line[1:]))]
            match words[0].upper(), words[1:]:
                case b"HELLO", [version, *_]:
                    reply = b"%1\r\n$5\r\nproto\r\n:" + version
                case b"PING", []:
                    reply = b"+PONG"
                case b"SET", [key, value, option, seconds] if option.upper() == b"EX":
                    kept[key] = (value, int(seconds))
                    reply = b"+OK"
                case b"GET", [key]:
                    value, _ = kept[key]
                    reply = b"$%d\r\n%s" % (len(value), value)
                case b"TTL", [key]:
                    reply = b":%d" % kept[key][1]
                case b"CLIENT" | b"SELECT", _:
                    reply = b"+OK"
                case _:
                    reply = b"-ERR unknown command"
            self.wfile.write(reply + b"\r\n")

    def _word(self) -> bytes:
        length = int(self.rfile.readline()[1:])
        return self.rfile.read(length + 2)[:length]


class Speakers(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        self.kept: dict[bytes, tuple[bytes, int]] = {}
        super().__init__(("127.0.0.1", 0), Speaker)


def speaks(port: int) -> bool:
    try:
        return bool(redis.Redis(port=port).ping())
    except redis.RedisError:
        return False


@pytest.fixture(params=["stand-in", "redis-server"])
def redis_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A stand-in that is always there; and a real Redis, where there is one."""
    program = shutil.which("redis-server")
    if request.param == "stand-in" or program is None:
        with Speakers() as speakers:
            threading.Thread(target=speakers.serve_forever, daemon=True).start()
            yield f"redis://127.0.0.1:{speakers.server_address[1]}/0"
            speakers.shutdown()
        return
    port = free_port()
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: speaks(port))
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait()


def spend(usd: str) -> None:
    factories.make_price()
    caller = Caller(tokens.digest(factories.make_token()[1]), "")
    direct_spend.spend(caller=caller, who=direct_spend.Attribution(), cost_usd=Decimal(usd))


def test_the_day_is_mirrored(redis_url: str, settings: Any) -> None:
    settings.TOLLGATE_REDIS_SECRET_URL = redis_url
    spend("1.25")
    wait_until(redis_mirror.mirror)  # which has less patience than a busy machine needs
    assert not redis_mirror.is_unavailable()
    client = redis.Redis.from_url(redis_url)
    key = f"llm_budget:daily:{direct_spend.day_status().date}"
    assert client.get(key) == b"1.25"
    assert 47 * 3600 < client.ttl(key) <= 48 * 3600


@pytest.mark.parametrize(
    ("usd", "level", "message"),
    [
        ("15.25", "INFO", "Budget OK: $15.25 / $50.00"),
        ("22.00", "WARNING", "Budget warning: $22.00 / $50.00"),
        ("52.00", "WARNING", "Hard limit reached: $52.00"),
    ],
)
def test_the_log_of_the_worker_says_how_the_day_stands(
    caplog: pytest.LogCaptureFixture, usd: str, level: str, message: str
) -> None:
    spend(usd)
    with caplog.at_level("INFO", "tollgate.mirror"):
        mirror_spend()
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [(level, message)]


def test_redis_down_changes_nothing_but_a_field(settings: Any) -> None:
    assert redis_mirror.mirror() is False
    assert not redis_mirror.is_unavailable()
    settings.TOLLGATE_REDIS_SECRET_URL = f"redis://127.0.0.1:{free_port()}/0"
    spend("1.25")
    assert redis_mirror.mirror() is False
    assert redis_mirror.is_unavailable()
    assert direct_spend.day_status().spent_usd == Decimal("1.25")


@pytest.fixture
def sink() -> Iterator[tuple[str, list[bytes]]]:
    """A real HTTP server that keeps what it is sent."""
    taken: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", taken
    server.shutdown()


def test_the_health_check_is_pinged(
    sink: tuple[str, list[bytes]], settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    address, taken = sink
    assert ping_health("triage", "succeeded") is False  # no address, no ping
    settings.TOLLGATE_HEALTHCHECK_SECRET_URL = f"http://{address}/ping/secret"
    assert ping_health("triage", "succeeded") is False  # a private network
    settings.TOLLGATE_NOTIFY_PRIVATE_NETWORKS = True
    spend("52")
    assert ping_health("triage", "succeeded") is True
    assert json.loads(taken[-1]) == {
        "task": "triage",
        "status": "succeeded",
        "budget_usd": 52.0,
        "budget_blocked": True,
    }
    assert "/ping/secret" not in caplog.text  # the address is a credential


def test_a_health_check_that_drips_costs_seconds_and_no_job(settings: Any) -> None:
    """Every byte comes in time for the time-out of one read."""
    with served(HttpSink()) as dripping:
        dripping.drips = True
        settings.TOLLGATE_HEALTHCHECK_SECRET_URL = f"http://127.0.0.1:{dripping.port}/ping"
        settings.TOLLGATE_NOTIFY_PRIVATE_NETWORKS = True
        taken = in_time(3 * health_ping.SECONDS, lambda: ping_health("triage", "succeeded"))
    assert taken is False


def test_a_triage_that_fails_is_pinged_as_failed(
    sink: tuple[str, list[bytes]], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, taken = sink
    settings.TOLLGATE_HEALTHCHECK_SECRET_URL = f"http://{address}/ping"
    settings.TOLLGATE_NOTIFY_PRIVATE_NETWORKS = True

    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(tasks, "run_triage", fail)
    with pytest.raises(ZeroDivisionError):
        tasks.triage()
    body = json.loads(taken[-1])
    assert (body["task"], body["status"]) == ("triage", "failed")


def test_sentry_is_told_of_the_warning_and_of_the_limit(
    sink: tuple[str, list[bytes]], settings: Any
) -> None:
    address, taken = sink
    settings.TOLLGATE_SENTRY_SECRET_DSN = f"http://key@{address}/1"
    sentry_sdk.init(settings.TOLLGATE_SENTRY_SECRET_DSN, default_integrations=False)
    try:
        spend("52")
        assert Alert.objects.filter(meta__window="day", meta__measure="usd").count() == 2
        alerts.tell()
        sentry_sdk.flush(5)
    finally:
        sentry_sdk.init()
    reply = b"\n".join(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body for body in taken)
    assert b'"level":"warning"' in reply
    assert b'"level":"error"' in reply
    assert b"$52.00 of $50.00" in reply
