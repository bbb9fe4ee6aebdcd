"""Takes the pictures of README.md again: `make screenshots`, or some of them by the beginning of
their names: `python -m docs.screenshots dashboard`.

A whole Tollgate is started on a data folder of its own, with the demo's people and history, and
its pages are opened as the people who use them. Needs Chromium (CHROMIUM names it, if it is not
/usr/bin/chromium). About a minute.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, sync_playwright

HERE = Path(__file__).resolve().parent
IMAGES = HERE / "images"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking")
LARGEST = 400_000  # bytes of one picture
TRAFFIC_SECONDS = 25  # so that today is not empty


@dataclass(frozen=True, slots=True)
class Picture:
    name: str
    person: str
    page: str
    width: int = 1280
    height: int = 1000
    theme: str = "light"


# A page that updates itself is taken after three updates.
RENEWED = """new Promise((done) => {
  let times = 0;
  document.addEventListener("renewed", () => {
    times += 1;
    if (times === 3) setTimeout(done, 100);
  });
})"""
WORK_ORDER = "/admin/workorders/workorder/code-review/change/"
PICTURES = (
    Picture("dashboard-light", "director", "/admin/", width=1440, height=900),
    Picture("dashboard-dark", "director", "/admin/", width=1440, height=900, theme="dark"),
    Picture("dashboard-phone", "auditor", "/admin/", width=390, height=844),
    Picture("work-order-light", "ops", WORK_ORDER),
    Picture("work-order-dark", "ops", WORK_ORDER, theme="dark"),
    Picture("work-orders", "auditor", "/admin/workorders/workorder/", height=760),
    Picture("runs-dark", "auditor", "/admin/workorders/run/", height=760, theme="dark"),
    Picture("request", "director", "request"),
    Picture("request-evidence", "director", "request", height=1900),
    Picture("waiting", "director", "/admin/budgets/changerequest/?whose=me", height=560),
    Picture("events", "auditor", "/ops-logs?kind=refusals", height=760),
)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="tollgate-pictures-") as folder:
        Path(folder).chmod(0o711)
        port = free_port()
        environment = {**os.environ, "TOLLGATE_DATA": f"{folder}/data", "PORT": str(port)}
        server = subprocess.Popen(
            [sys.executable, "-m", "config.run.supervisor"],
            cwd=HERE.parent,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        try:
            base = f"http://127.0.0.1:{port}"
            wait_for(f"{base}/readyz", server)
            time.sleep(TRAFFIC_SECONDS)
            os.environ["TOLLGATE_DATA"] = environment["TOLLGATE_DATA"]
            os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
            sys.path.insert(0, str(HERE.parent))
            return take(base)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)


def take(base: str) -> int:
    """How many pictures are too large, or of a page with an error in its console."""
    import django

    django.setup()
    from budgets.models import ChangeRequest

    open_request = ChangeRequest.objects.filter(status="pending").order_by("-id").first()
    wanted = [each for each in PICTURES if each.name.startswith(tuple(sys.argv[1:]) or "")]
    cookies = {person: session(person) for person in {picture.person for picture in wanted}}
    faults = 0
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        for picture in wanted:
            page = picture.page
            if page == "request":
                page = "/admin/budgets/changerequest/"
                page += f"{open_request.pk}/change/" if open_request else ""
            complaints = shoot(browser, picture, base, page, cookies[picture.person])
            size = (IMAGES / f"{picture.name}.png").stat().st_size
            faults += bool(complaints) + (size > LARGEST)
            print(f"{picture.name}.png  {size // 1000} kB  {'; '.join(complaints)}")
        browser.close()
    return min(faults, 1)


def shoot(browser: Browser, picture: Picture, base: str, page: str, cookie: str) -> list[str]:
    """What the console of the page says that it should not have."""
    context = browser.new_context(
        viewport={"width": picture.width, "height": picture.height},
        color_scheme="dark" if picture.theme == "dark" else "light",
    )
    context.add_cookies([{"name": "sessionid", "value": cookie, "url": base}])
    tab = context.new_page()
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    tab.on("console", listen)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(base + page, wait_until="networkidle")
    tab.evaluate("document.fonts.ready")
    if tab.locator("#tg-live").count():
        tab.evaluate(RENEWED)
    tab.screenshot(path=IMAGES / f"{picture.name}.png")
    context.close()
    return complaints


def session(person: str) -> str:
    """The cookie of a session of this person: the demo's passwords are shown once, to people."""
    from importlib import import_module

    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User

    user = User.objects.get(username=person)
    store: Any = import_module(settings.SESSION_ENGINE).SessionStore()
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[-1]
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.save()
    return str(store.session_key)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310  (an address of ours)
                return
        except (urllib.error.URLError, OSError):
            if server.poll() is not None:
                raise SystemExit("Tollgate did not start.") from None
            time.sleep(0.2)
    raise SystemExit("Tollgate was not ready in two minutes.")


if __name__ == "__main__":
    sys.exit(main())
