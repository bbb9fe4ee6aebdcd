"""The client's address, seen through the proxies that are trusted."""

import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# As proxies write it: 192.0.2.1, 192.0.2.1:47, 2001:db8::1, [2001:db8::1], [2001:db8::1]:443
HOP = re.compile(
    r"\[(?P<bracketed>[^\]]*)\](?::[0-9]{1,5})?|(?P<v4>[0-9.]+):[0-9]{1,5}|(?P<bare>.+)"
)


@lru_cache(maxsize=8)
def _networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


@lru_cache(maxsize=4096)
def parse_hop(text: str) -> Address | None:
    """The address of a hop, without its port, brackets and zone; None if it is no address.

    An IPv4 address written as IPv6 (::ffff:192.0.2.1) is the IPv4 address. A zone (fe80::1%eth0)
    names an interface of another machine, and PostgreSQL takes none.
    """
    match = HOP.fullmatch(text.strip(" \t"))
    if match is None:
        return None
    bracketed = match["bracketed"]
    try:
        if bracketed is not None:
            address: Address = ipaddress.IPv6Address(bracketed)
        else:
            address = ipaddress.ip_address(match["v4"] or match["bare"])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address.scope_id:
            return ipaddress.IPv6Address(int(address))
    return address


@lru_cache(maxsize=4096)
def written(text: str) -> str:
    """The address of a hop in its one form, as PostgreSQL takes it; "" if it is none."""
    address = parse_hop(text)
    return "" if address is None else str(address)


def in_networks(address: str, networks: tuple[str, ...]) -> bool:
    """Whether the address lies in one of them; an address that is not known lies in none."""
    parsed = parse_hop(address)
    return parsed is not None and any(parsed in network for network in _networks(networks))


def is_trusted_proxy(address: str) -> bool:
    """Whether what requests from there say of their origin (`X-Forwarded-…`) is believed."""
    trusted = tuple(settings.TRUSTED_PROXIES)
    return bool(trusted) and in_networks(address, trusted)


def client_address(request: HttpRequest) -> str:
    return address_of(request.META)


def address_of(meta: Mapping[str, Any]) -> str:
    """The address that asked: the nearest hop that is no trusted proxy.

    `X-Forwarded-For` is read from the right, only as far as TRUSTED_PROXIES vouch for it: what a
    client writes into it is never believed. Returns "" where the address is unknown: a unix socket,
    or a hop that cannot be read. It fails closed: the address of the proxy never stands in for it,
    because that one opens `/metrics` and lies in the networks of tokens. `meta` is a CGI
    environment.
    """
    address = meta.get("REMOTE_ADDR", "")
    trusted = tuple(settings.TRUSTED_PROXIES)
    forwarded = meta.get("HTTP_X_FORWARDED_FOR")
    if trusted and forwarded is not None and in_networks(address, trusted):
        for hop in reversed(forwarded.split(",")):
            address = hop
            if not in_networks(hop, trusted):
                break
    return written(address)
