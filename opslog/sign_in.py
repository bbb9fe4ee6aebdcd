"""What a try to sign in must pass before a password or a code is looked at.

A password is hashed slowly on purpose, so a try is counted *before* that, in the database: the
count holds over all web processes. Three counters:

- **address** (an IPv6 network of 64 bits is one): ADDRESS_TRIES in ADDRESS_WINDOW;
- **name**: after FREE_TRIES, each further failure doubles a pause, up to LONGEST_PAUSE;
- **device**: a browser from which this name has signed in before carries a signed cookie and is
  judged by a count of its own. So nobody locks a person out of the device they use: neither by
  wrong passwords on their name nor from their address. (OWASP, "device cookies".)

A try that is let in is counted as failed; `Try.succeeded` takes it back.
"""

import hashlib
import hmac
import ipaddress
import secrets
import unicodedata
from dataclasses import dataclass

from django.conf import settings
from django.core import signing
from django.db import connection

ADDRESS_TRIES, ADDRESS_WINDOW = 20, 300  # seconds
CHALLENGES = 200  # of an address in the same window: many people may share one
DEVICE_TRIES, DEVICE_WINDOW = 10, 900
FREE_TRIES, LONGEST_PAUSE, FORGOTTEN_AFTER = 5, 900, 86_400
DEVICE_COOKIE, DEVICE_AGE = "tollgate_device", 180 * 86_400
DEVICE_SALT = "tollgate.device"
PEOPLE_PER_DEVICE = 5

# At most so many in a window. No row comes back where there are that many: nothing is written.
TAKE = """
INSERT INTO public.sign_in_tries AS t (key, expires_at)
VALUES (%(key)s, clock_timestamp() + make_interval(secs => %(window)s))
ON CONFLICT (key) DO UPDATE SET
    tries = CASE WHEN t.expires_at <= clock_timestamp() THEN 1 ELSE t.tries + 1 END,
    expires_at = CASE WHEN t.expires_at <= clock_timestamp()
                      THEN excluded.expires_at ELSE t.expires_at END
WHERE t.tries < %(most)s OR t.expires_at <= clock_timestamp()
RETURNING tries
"""
# One at a time, each failure pausing for longer; nothing is written during a pause.
PAUSE = """
INSERT INTO public.sign_in_tries AS t (key, expires_at)
VALUES (%(key)s, clock_timestamp() + make_interval(secs => %(forgotten)s))
ON CONFLICT (key) DO UPDATE SET
    tries = CASE WHEN t.expires_at <= clock_timestamp() THEN 1 ELSE t.tries + 1 END,
    not_before = CASE WHEN t.expires_at <= clock_timestamp() OR t.tries < %(free)s
        THEN clock_timestamp()
        ELSE clock_timestamp() + make_interval(
            secs => least(%(longest)s, power(2, least(t.tries - %(free)s, 20)))) END,
    expires_at = excluded.expires_at
WHERE t.not_before <= clock_timestamp() OR t.expires_at <= clock_timestamp()
RETURNING tries
"""
GIVE_BACK = "UPDATE public.sign_in_tries SET tries = tries - 1 WHERE key = %s AND tries > 0"
FORGET = "DELETE FROM public.sign_in_tries WHERE key = %s"
# More go than come: whoever invents names does not fill the table.
SWEEP = """
DELETE FROM public.sign_in_tries WHERE key IN (
    SELECT key FROM public.sign_in_tries WHERE expires_at <= clock_timestamp()
    ORDER BY expires_at LIMIT 10 FOR UPDATE SKIP LOCKED)
"""


@dataclass(frozen=True)
class Try:
    """A try that was let in, and the counters it stands in."""

    given_back: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()

    def succeeded(self) -> None:
        with connection.cursor() as cursor:
            for key in self.given_back:
                cursor.execute(GIVE_BACK, [key])
            for key in self.forgotten:
                cursor.execute(FORGET, [key])


def name_key(name: str) -> str:
    """One name in all its spellings. Keyed, so that the table does not show what was typed."""
    folded = unicodedata.normalize("NFKC", name).strip().casefold().encode()
    return hmac.new(settings.SECRET_KEY.encode(), folded, hashlib.sha256).hexdigest()[:32]


def network(address: str) -> str:
    """The address, or of IPv6 the network that one customer has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address


def let_in(name: str, *, address: str, devices: str, what: str = "name") -> Try | None:
    """The try, or None: nothing is to be looked at now. `devices` is the device cookie's value.

    `what` keeps counts apart: a password is "name", a one-time code "code".
    """
    who = name_key(name)
    if device := known(devices).get(who):
        key = f"device:{what}:{device}"
        if _take(key, most=DEVICE_TRIES, window=DEVICE_WINDOW):
            return Try(forgotten=(key,))
    here = f"address:{network(address)}"
    if not _take(here, most=ADDRESS_TRIES, window=ADDRESS_WINDOW):
        return None
    key = f"{what}:{who}"
    if not _pause(key):
        return None
    return Try(given_back=(here,), forgotten=(key,))


def let_challenge_in(address: str) -> bool:
    """For what begins without a name, by passkey or single sign-on: nothing can be guessed there,
    but each beginning makes a session, and may ask the identity provider something."""
    return _take(f"challenge:{network(address)}", most=CHALLENGES, window=ADDRESS_WINDOW)


def first_use(name: str, code: str, *, seconds: int) -> bool:
    """Whether this one-time code was not used before, in any process."""
    return _take(f"used:{name_key(name)}:{name_key(code)}", most=1, window=seconds)


def known(devices: str) -> dict[str, str]:
    """Who has signed in from this browser: digest of the name → secret of the device."""
    try:
        found = signing.loads(devices, salt=DEVICE_SALT, max_age=DEVICE_AGE)
    except signing.BadSignature:
        return {}
    return found if isinstance(found, dict) else {}


def with_person(devices: str, name: str) -> str:
    """The device cookie after this person signed in here; the latest few people stay in it."""
    people = known(devices)
    who = name_key(name)
    device = people.pop(who, "") or secrets.token_hex(16)
    kept = dict(list(people.items())[-(PEOPLE_PER_DEVICE - 1) :])
    return signing.dumps({**kept, who: device}, salt=DEVICE_SALT)


def _take(key: str, *, most: int, window: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(SWEEP)
        cursor.execute(TAKE, {"key": key, "most": most, "window": window})
        return cursor.fetchone() is not None


def _pause(key: str) -> bool:
    values: dict[str, str | int] = {
        "key": key,
        "free": FREE_TRIES,
        "longest": LONGEST_PAUSE,
        "forgotten": FORGOTTEN_AFTER,
    }
    with connection.cursor() as cursor:
        cursor.execute(PAUSE, values)
        return cursor.fetchone() is not None
