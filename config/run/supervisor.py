"""`make run`: everything under one process, which stops all of it when it ends.

Database, migrations, web server, job worker, message delivery, sealer and the demo's traffic.
Whatever cannot work is reported in one line, with exit code 2.
"""

import http.client
import os
import signal
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from config import environment as forms
from config.environment import PROBLEMS, take
from config.run.children import (
    BASE_DIR,
    COUNTS,
    Child,
    WebServer,
    courier,
    job_worker,
    sealer,
    stop_all,
    web_server,
)
from config.run.data_folder import DataFolder, EmbeddedError
from config.run.database_url import UnusableDatabase, check_database
from config.run.embedded import EmbeddedPostgres
from config.run.privileges import ProcessUser

DOOR_PORT = int(forms.SERVER["DOOR_PORT"][0])  # as shipped
UNPRIVILEGED = 1024  # ports below are root's to open
RESTARTS, RESTART_WINDOW = 5, 300.0  # so many restarts of a crashed child in so many seconds
MUST_RUN = {"jobs": "The job worker", "seals": "The sealer"}
FIRST_ANSWER_SECONDS = 60
# What only migrations, commands and the sealer need: the web server and the job worker, which read
# what strangers send, do not get it.
OWNERS = frozenset({"TOLLGATE_OWNER_DATABASE_URL"})
SEALERS = frozenset({"SEAL_KEY", "SEAL_KEY_FILE", "SEAL_WEBHOOK_URL"})
EVERYWHERE = ("0.0.0.0", "::", "localhost")  # noqa: S104  (compared with, not bound to)


class CannotRun(Exception):
    """One line for the person at the terminal."""


class Stopped(BaseException):
    """Ctrl-C or SIGTERM."""


def require_free(host: str, port: int, name: str = "PORT") -> None:
    """Raises CannotRun when something already listens there, or the host is not ours. `name` is the
    setting that the port comes from."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno is None:
            raise CannotRun(f"HOST {host} is not an address of this machine.") from None
        raise CannotRun(
            f"Port {port} on {host} is not free ({error.strerror}): "
            f"choose another, as in `make run {name}=8899`."
        ) from None


@dataclass
class Restarts:
    """How often something was restarted lately."""

    times: deque[float] = field(default_factory=deque)

    def allowed(self, now: float) -> bool:
        while self.times and now - self.times[0] > RESTART_WINDOW:
            self.times.popleft()
        self.times.append(now)
        return len(self.times) <= RESTARTS


class Supervisor:
    def __init__(self) -> None:
        self.embedded = not os.environ.get("DATABASE_URL")
        self.host = take("HOST", default="127.0.0.1", form=forms.host)
        self.port = forms.server_number("PORT")
        self.door_port = forms.server_number("DOOR_PORT")
        if os.environ.get("DOOR_PORT") == "":
            self.door_port = 0
        self.door_was_set = "DOOR_PORT" in os.environ
        self.workers = forms.server_number("WEB_WORKERS")
        self.page_workers = forms.server_number("PAGE_WORKERS")
        self.threads = forms.server_number("WEB_THREADS")
        demo = take("DEMO", default="1" if self.embedded else "0", form=forms.boolean)
        self.traffic = take("DEMO_TRAFFIC", default="1", form=forms.boolean) and demo
        self.https = take("HTTPS", default="0", form=forms.boolean)
        trusted = take("CSRF_TRUSTED_ORIGINS", default="", form=forms.origins)
        origin = next((each for each in trusted if "*" not in each), "")
        self.public = take("BASE_URL", default=origin, form=forms.http_url).rstrip("/")
        if PROBLEMS:
            raise CannotRun("\ntollgate: ".join(each.line for each in PROBLEMS.values()))
        if self.door_was_set and self.door_port == self.port:
            raise CannotRun(f"DOOR_PORT and PORT must differ; both are {self.port}.")
        self.postgres: EmbeddedPostgres | None = None
        self.user = ProcessUser()
        self.children: list[Child] = []
        self.restarts: dict[str, Restarts] = {}

    @property
    def address(self) -> str:
        return self.address_of(self.port)

    def address_of(self, port: int) -> str:
        host = "127.0.0.1" if self.host in EVERYWHERE else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def require_ports(self) -> None:
        require_free(self.host, self.port)
        if self.door_port and self.door_was_set:
            require_free(self.host, self.door_port, "DOOR_PORT")

    def settle_door(self) -> None:
        """A second installation on a machine needs no further setting: if the shipped port is
        taken and DOOR_PORT is not set, programs use PORT."""
        if self.door_was_set:
            return
        if self.door_port == self.port:
            self.door_port = 0
            return
        try:
            require_free(self.host, self.door_port)
        except CannotRun:
            self.door_port = 0

    def run(self) -> NoReturn:
        """Ends with CannotRun or Stopped."""
        try:
            if self.embedded:
                self.postgres = EmbeddedPostgres(DataFolder.from_environment(BASE_DIR))
                self.postgres.lock()
                self.require_ports()
                self.postgres.start()
            else:
                self.require_ports()
                self.check_settings()
            self.prepare()
            self.user = self.application_user()
            environment = self.application_environment()
            self.settle_door()
            argv = web_server(
                self.host,
                self.port,
                door_port=self.door_port,
                workers=self.workers,
                page_workers=self.page_workers,
                threads=self.threads,
            )
            web = self.start(WebServer("web", argv, environment, OWNERS | SEALERS, self.user))
            # It reads there how long admissions took.
            environment = {**environment, COUNTS: web.env[COUNTS]}
            self.start(Child("jobs", job_worker(), environment, OWNERS | SEALERS, self.user))
            self.start(Child("deliver", courier(), environment, OWNERS | SEALERS, self.user))
            if self.embedded or os.environ.get("SEAL_KEY") or os.environ.get("SEAL_KEY_FILE"):
                self.start(Child("seals", sealer(), without=OWNERS))
            self.wait_for_answer(web)
            self.greet()
            if self.wants_traffic():
                url = self.address_of(self.door_port or self.port)
                argv = [sys.executable, "manage.py", "demo_traffic", "--url", url]
                self.start(Child("demo", argv, without=OWNERS | SEALERS))
            self.watch()
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            # Those who ask end before the one who answers.
            stop_all([child for child in self.children if child.name == "demo"], 5)
            stop_all(self.children)
            if self.postgres is not None:
                self.postgres.stop()

    def check_settings(self) -> None:
        check_database(os.environ["DATABASE_URL"])
        if owner := os.environ.get("TOLLGATE_OWNER_DATABASE_URL"):
            check_database(owner, "TOLLGATE_OWNER_DATABASE_URL")
        if not os.environ.get("SECRET_KEY"):
            raise CannotRun("SECRET_KEY must be set when DATABASE_URL is set.")

    def prepare(self) -> None:
        step = Child("", [sys.executable, "-m", "config.run.prepare"])
        self.children.append(step)
        step.start()
        while (code := step.returncode) is None:
            time.sleep(0.02)
        step.finish()
        self.children.remove(step)
        if code != 0:
            raise CannotRun("" if code == 2 else "The database was not made ready (see above).")

    def start(self, child: Child) -> Child:
        self.children.append(child)
        self.restarts[child.name] = Restarts()
        child.start()
        return child

    def application_user(self) -> ProcessUser:
        """Who the web server and the job worker run as: not root, where that can be had."""
        user = ProcessUser.choose(Path(sys.executable), BASE_DIR / "config", BASE_DIR / ".static")
        if user.uid is not None and min(self.port, self.door_port or self.port) < UNPRIVILEGED:
            user = ProcessUser()
        if os.geteuid() == 0 and user.uid is None:
            print(
                "The web server and the job worker run as root, and can read the sealing key. They "
                "run as another user from a folder that others may enter, on a port from "
                f"{UNPRIVILEGED} on (docs/operations.md).",
                flush=True,
            )
        return user

    def application_environment(self) -> dict[str, str]:
        """With the embedded server: what is in the data folder for them, without the folder."""
        if self.postgres is None:
            return {}
        folder = self.postgres.folder
        return {
            "DATABASE_URL": folder.app_url(),
            "SECRET_KEY": folder.secret_key(),
            "SEAL_HEADS_FILE": os.environ.get("SEAL_HEADS_FILE")
            or str(folder.path / "seal_heads.jsonl"),
        }

    def wants_traffic(self) -> bool:
        if not any(BASE_DIR.glob("*/management/commands/demo_traffic.py")):
            return False
        return self.traffic

    def wait_for_answer(self, web: Child) -> None:
        deadline = time.monotonic() + FIRST_ANSWER_SECONDS
        host, _, port = self.address.removeprefix("http://").rpartition(":")
        while time.monotonic() < deadline:
            if web.returncode is not None:
                raise CannotRun("The web server did not start (see above).")
            try:
                connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=5)
                connection.request("GET", "/healthz", headers={"Host": "localhost"})
                answer = connection.getresponse()
                connection.close()
                if answer.status < 500:
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.05)
        raise CannotRun(f"The web server did not answer within {FIRST_ANSWER_SECONDS} s.")

    def greet(self) -> None:
        lines = self.where()
        if self.door_port:
            lines.append(f"API for programs at  {self.address_of(self.door_port)}/api/")
        elif not self.door_was_set and self.port != DOOR_PORT:
            lines.append(f"Port {DOOR_PORT} is taken, so programs use {self.port} (see DOOR_PORT).")
        lines.append("Ctrl-C stops everything.")
        width = max(map(len, lines))
        print("┌─" + "─" * width + "─┐")
        for line in lines:
            print(f"│ {line:<{width}} │")
        print("└─" + "─" * width + "─┘", flush=True)

    def where(self) -> list[str]:
        """The address that people open. With HTTPS it is the proxy's: plain http leads there."""
        listens = f"It listens on port {self.port} of "
        listens += "every address." if self.host in ("0.0.0.0", "::") else f"{self.host}."  # noqa: S104
        if self.public:
            return [f"Tollgate is open at  {self.public}/admin/", listens]
        if self.https:
            return ["Tollgate is open by https only, through your proxy.", listens]
        opened = [f"Tollgate is open at  {self.address}/admin/"]
        return [*opened, listens] if self.host in ("0.0.0.0", "::") else opened  # noqa: S104

    def watch(self) -> NoReturn:
        while True:
            time.sleep(0.2)
            if self.postgres and self.postgres.process and self.postgres.process.poll() is not None:
                raise CannotRun(f"PostgreSQL ended by itself (see {self.postgres.log}).")
            for child in list(self.children):
                if child.returncode is None:
                    continue
                if child.name == "web":
                    raise CannotRun(f"The web server ended by itself (code {child.returncode}).")
                self.restart(child)

    def restart(self, child: Child) -> None:
        code = child.returncode
        child.kill()
        if child.name == "demo" and code == 0:
            self.children.remove(child)
        elif self.restarts[child.name].allowed(time.monotonic()):
            print(f"{child.name:<8}ended by itself (code {code}); started again.", flush=True)
            child.start()
        elif child.name in MUST_RUN:
            raise CannotRun(
                f"{MUST_RUN[child.name]} ended {RESTARTS + 1} times in {RESTART_WINDOW:.0f} s."
            )
        else:
            print(f"{child.name:<8}ended too often; not started again.", flush=True)
            self.children.remove(child)


def on_signal(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped


def main() -> int:
    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    if sys.stdout.isatty():
        os.environ.setdefault("LOG_JSON", "0")
    try:
        Supervisor().run()
    except Stopped:
        print("Stopped.", flush=True)
        return 0
    except (CannotRun, EmbeddedError, UnusableDatabase) as error:
        if str(error):
            print(f"tollgate: {error}", file=sys.stderr, flush=True)
        return 2


if __name__ == "__main__":
    sys.exit(main())
