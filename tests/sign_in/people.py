"""People who sign in through the page, as a browser does it."""

from typing import Any

import pyotp
from django.contrib.auth.models import User
from django.test import Client

from tests import factories

PASSWORD = "correct horse battery"
BACKEND = "django.contrib.auth.backends.ModelBackend"


def person(name: str = "ada", *groups: str, **columns: Any) -> User:
    found = factories.make_user(name, groups=groups, **{"is_staff": True, **columns})
    found.set_password(PASSWORD)
    found.save()
    return found


def try_to_sign_in(
    client: Client, name: str = "ada", password: str = PASSWORD, address: str = "192.0.2.1"
) -> Any:
    data = {"login": name, "password": password}
    return client.post("/account/login/", data, REMOTE_ADDR=address)


def signed_in(name: str = "ada", address: str = "192.0.2.1") -> Client:
    client = Client()
    answer = try_to_sign_in(client, name, address=address)
    assert answer.status_code == 302, answer.content.decode()
    return client


def is_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def set_up_app(client: Client) -> tuple[pyotp.TOTP, list[str]]:
    """Through the pages; gives the app, and the recovery codes that are shown once."""
    page = client.get("/account/factors/app/add/")
    assert page.status_code == 200, page.headers.get("Location")
    app = pyotp.TOTP(page.context["form"].secret)
    done = client.post("/account/factors/app/add/", {"code": app.now()}, follow=True)
    assert done.redirect_chain, done.content.decode()
    return app, list(done.context["unused_codes"])
