"""The client's address, seen through the proxies that are trusted."""

import ipaddress
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(maxsize=8)
def _networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


@lru_cache(maxsize=4096)
def _parse(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        # A zone (fe80::1%eth0) names an interface of another machine; PostgreSQL takes none.
        address = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def in_networks(address: str, networks: tuple[str, ...]) -> bool:
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in _networks(networks))


def client_address(request: HttpRequest) -> str:
    """The address that asked: the nearest hop that is no trusted proxy.

    `X-Forwarded-For` is read from the right, only as far as TRUSTED_PROXIES vouch for it: what a
    client writes into it is never believed. Gives "" where there is no address (a unix socket).
    """
    address = request.META.get("REMOTE_ADDR", "")
    trusted = tuple(settings.TRUSTED_PROXIES)
    if trusted and in_networks(address, trusted):
        for hop in reversed(request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
            if _parse(hop) is None:
                break
            address = str(_parse(hop))
            if not in_networks(address, trusted):
                break
    parsed = _parse(address)
    return "" if parsed is None else str(parsed)
