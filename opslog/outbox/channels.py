"""The channels of the settings (NOTIFY_URLS), distinguished without their credentials.

An address of a channel is a secret as a whole: of most services even the host part is a token. So
rows and pages have the name of the service and a keyed fingerprint; the address is looked up in the
settings at the moment of sending.
"""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.crypto import salted_hmac

# Of these the host part is a host.
WITH_A_HOST = ("json", "jsons", "xml", "xmls", "form", "forms")


@dataclass(frozen=True, slots=True)
class Channel:
    fingerprint: str
    label: str
    url: str = field(repr=False)


def configured() -> list[Channel]:
    return [
        Channel(fingerprint_of(url), label_of(url), url)
        for url in dict.fromkeys(settings.TOLLGATE_NOTIFY_SECRET_URLS)
    ]


def find(fingerprint: str) -> Channel | None:
    return next((each for each in configured() if each.fingerprint == fingerprint), None)


def fingerprint_of(url: str) -> str:
    return salted_hmac("opslog.outbox.channels", url, algorithm="sha256").hexdigest()[:16]


def label_of(url: str) -> str:
    """The service, and the host where that is no secret; the start of the fingerprint tells two
    channels of one service apart."""
    scheme, _, _ = url.partition("://")
    host = ""
    if scheme.lower() in WITH_A_HOST:
        try:
            host = f" {urlsplit(url).hostname or ''}".rstrip()
        except ValueError:
            host = ""
    return f"{scheme.lower()[:40]}{host[:100]} ({fingerprint_of(url)[:4]})"
