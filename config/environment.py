"""Environment variables that have a form, and what is wrong with them.

A wrong one must not break the import of the settings, or `manage.py check` could not report it:
its default stands in, the problem is kept, and `config.checks` has every start refused.
"""

import hashlib
import ipaddress
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from email.utils import parseaddr
from typing import Any, TypeVar

T = TypeVar("T")
YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
# Groups come from migrations alone: nobody adds one.
GROUPS = ("operations", "director", "finance", "vp", "auditor", "administrator")
ALLOWED_HOST = re.compile(r"\*|\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]")
ORIGIN = re.compile(
    r"https?://(\*\.)?[A-Za-z0-9_.-]+(:[0-9]{1,5})?|https?://\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?"
)
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
WHOLE = re.compile(r"[0-9]{1,9}")
DECIMAL = re.compile(r"[0-9]{1,7}(\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True)
class Problem:
    """`line` names the variable and what it must be; a credential is not repeated in it."""

    name: str
    line: str


PROBLEMS: dict[str, Problem] = {}


def wrong_lines(lines: Iterable[str]) -> str:
    return "\n".join(f"A setting is wrong: {line}" for line in lines)


class Expected(ValueError):
    """What a value has to be: the end of the sentence “NAME must be …”."""


def take(name: str, *, default: str, form: Callable[[str], T], secret: bool = False) -> T:
    """The value of the variable in that form; an empty one counts as not set.

    What `form` refuses with Expected becomes a Problem. `secret`: the line does not show the value.
    """
    given = os.environ.get(name, "").strip()
    PROBLEMS.pop(name, None)
    try:
        return form(given or default)
    except Expected as expected:
        shown = "" if secret else f", not {given[:200]!r}"
        PROBLEMS[name] = Problem(name, f"{name} must be {expected}{shown}.")
        return form(default)


def boolean(text: str) -> bool:
    """What is neither of the two is an error: `HTTPS=enabled` must not mean “off”."""
    if text.lower() not in YES + NO:
        raise Expected("1 or 0")
    return text.lower() in YES


def whole(low: int, high: int) -> Callable[[str], int]:
    def form(text: str) -> int:
        if not WHOLE.fullmatch(text) or not low <= int(text) <= high:
            raise Expected(f"a number from {low} to {high}")
        return int(text)

    return form


# What the web server is started with: shipped, lowest, highest. Judged by the supervisor, by the
# server's own command line and, for every command, by the settings.
SERVER = {
    "PORT": ("8000", 1, 65_535),
    "DOOR_PORT": ("8001", 0, 65_535),
    "WEB_WORKERS": ("1", 1, 64),
    "PAGE_WORKERS": ("2", 1, 64),
    "WEB_THREADS": ("4", 1, 256),
}


def server_number(name: str) -> int:
    shipped, low, high = SERVER[name]
    return take(name, default=shipped, form=whole(low, high))


def retention_days(text: str) -> int:
    if not WHOLE.fullmatch(text) or not (int(text) == 0 or 7 <= int(text) <= 36_500):
        raise Expected("a number of days from 7 to 36500, or 0 for no limit")
    return int(text)


def retry_after(text: str) -> str:
    if text == "midnight" or (WHOLE.fullmatch(text) and int(text) > 0):
        return text
    raise Expected("a positive number of seconds, or midnight")


def seconds(low: float, high: float) -> Callable[[str], float]:
    def form(text: str) -> float:
        if not DECIMAL.fullmatch(text) or not low <= float(text) <= high:
            raise Expected(f"seconds from {low} to {high}")
        return float(text)

    return form


def dollars(text: str) -> str:
    if not DECIMAL.fullmatch(text) or Decimal(text) > 1_000_000:
        raise Expected("US dollars from 0 to 1000000, as in 5.00")
    return text


def matching(pattern: str, expected: str) -> Callable[[str], str]:
    """Nothing, or a text of that form."""

    def form(text: str) -> str:
        if text and not re.fullmatch(pattern, text):
            raise Expected(expected)
        return text

    return form


environment_name = matching(
    r"[a-z][a-z0-9-]{0,39}", "a short name in small letters, as in production"
)
# Whether it is an address of this machine only a socket can say.
host = matching(r"[A-Za-z0-9_.:%-]+", "an address of this machine, as in 127.0.0.1 or 0.0.0.0")
http_url = matching(r"https?://[^\s/]+\S*", "an address that begins with http:// or https://")
private_key = matching(r"[0-9a-fA-F]{64}", "64 hexadecimal digits")
redis_url = matching(r"(rediss?|unix)://\S+", "the address of a Redis, as in redis://HOST:6379/0")


def parts(text: str) -> list[str]:
    """What commas separate, without blanks."""
    return [part.strip() for part in text.split(",") if part.strip()]


def group_names(text: str) -> list[str]:
    values = parts(text)
    if not set(values) <= set(GROUPS):
        raise Expected(f"groups out of {', '.join(GROUPS)}")
    return values


def host_names(text: str) -> list[str]:
    values = parts(text)
    if not values or not all(map(ALLOWED_HOST.fullmatch, values)):
        raise Expected("host names without scheme and port, as in tollgate.example,10.0.0.5")
    return values


def origins(text: str) -> list[str]:
    values = parts(text)
    if not all(map(ORIGIN.fullmatch, values)):
        raise Expected("origins with their scheme and no path, as in https://tollgate.example")
    return values


def sender(text: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", parseaddr(text)[1]) or "\n" in text:
        raise Expected("an email address, as in tollgate@example.org")
    return text


def pairs(text: str) -> dict[str, str]:
    """`theirs=ours,…`: what a group is called elsewhere, and here."""
    found = {}
    for part in text.split(","):
        theirs, equals, ours = (each.strip() for each in part.rpartition("="))
        if part.strip() and not (theirs and ours):
            raise Expected("pairs of groups, as in THEIRS=operations,OTHER=finance")
        if equals and ours not in GROUPS:
            raise Expected(f"pairs whose right side is one of {', '.join(GROUPS)}")
        if equals:
            found[theirs] = ours
    return found


def log_level(text: str) -> str:
    if text.upper() not in LEVELS:
        raise Expected(f"one of {', '.join(LEVELS)}")
    return text.upper()


def networks(text: str) -> list[str]:
    """CIDR networks, separated by commas."""
    values = parts(text)
    for part in values:
        try:
            ipaddress.ip_network(part)
        except ValueError:
            raise Expected(
                "networks in CIDR notation, without host bits, as in 10.0.0.0/24,2001:db8::/32"
            ) from None
    return values


def issuer_id(issuer: str) -> str:
    """What stands for an OpenID Connect issuer in the rows that link people to it."""
    return f"oidc-{hashlib.sha256(issuer.encode()).hexdigest()[:16]}" if issuer else "oidc"


def email(parse: Callable[[str], dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
    """The settings that an address of a mail server stands for, by django-environ's `parse`."""

    def form(text: str) -> dict[str, Any]:
        try:
            found = parse(text)
        except Exception:  # whatever it stumbles over
            found = {}
        smtp = text.partition("://")[0] in ("smtp", "smtps", "smtp+tls", "smtp+ssl")
        if not found or (smtp and not found.get("EMAIL_HOST")):
            raise Expected("the address of a mail server: smtp+tls://USER:PASSWORD@HOST:587")
        return found

    return form


def channels(text: str) -> list[str]:
    """Split at commas and blanks that a scheme follows: an address may have commas of its own.

    Whether a service is known is a question to apprise, whose import costs: see `config.checks`.
    """
    parts = re.split(r"[\s,]+(?=[A-Za-z][A-Za-z0-9+.-]*://)", text.strip(" ,\n"))
    found = [part for part in parts if part]
    if any("://" not in part for part in found):
        raise Expected("addresses of channels as apprise writes them, separated by commas")
    return found
