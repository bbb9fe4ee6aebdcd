"""Keeps messages from being sent to this machine and its neighbours (private networks).

Every connection of the guarded code is looked at when it is made, by an audit hook of Python: so a
redirect, a second address of a name, and a name that resolves differently a moment later are all
refused. Rejected: judging the host of the address alone, which sees none of these.
"""

import ipaddress
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

NAT64 = ipaddress.ip_network("64:ff9b::/96")
CONNECTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
OTHER_WAYS_OUT = frozenset({"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"})


class PrivateTarget(OSError):
    """The target, or one of its addresses, is not on the public internet."""


_refused: ContextVar[list[str] | None] = ContextVar("tollgate_refused_targets", default=None)


def is_public(text: str) -> bool:
    """Whether it is an address that the whole internet knows; what it embeds is looked at too."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if embedded is None and address in NAT64:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is None and address.teredo:
            embedded = address.teredo[1]
        if embedded is not None:
            address = embedded
    return address.is_global and not address.is_multicast


def check_host(host: str) -> None:
    """Raises PrivateTarget if any of its addresses is private, OSError if it has none."""
    found = socket.getaddrinfo(host.strip("[]"), None, proto=socket.IPPROTO_TCP)
    for *_, address in found:
        if not is_public(str(address[0])):
            raise PrivateTarget(f"{host} is on a private network")


@contextmanager
def public_only() -> Iterator[list[str]]:
    """Refuse connections to private networks, local sockets and other programs meanwhile.

    Yields the list of what was refused: libraries turn the error into one of their own. It holds
    in this context and in those copied from it, and it cannot be seen by threads started plainly.
    """
    _install()
    refused: list[str] = []
    token = _refused.set(refused)
    try:
        yield refused
    finally:
        _refused.reset(token)


@cache
def _install() -> None:
    """Once per process: an audit hook cannot be taken away again. It costs nothing elsewhere."""
    sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in CONNECTS and event not in OTHER_WAYS_OUT:
        return
    refused = _refused.get()
    if refused is None:
        return
    if event in OTHER_WAYS_OUT:
        refused.append("a program")
        raise PrivateTarget("No program is started to send a message")
    address = arguments[1]
    if address is None:
        return  # a datagram on a socket that was connected, and looked at, before
    host = address[0] if isinstance(address, tuple) else ""
    try:
        _check_target(host)
    except PrivateTarget:
        refused.append("an address")
        raise


def _check_target(host: Any) -> None:
    """An address mostly; a few services connect by name. Local sockets have neither."""
    if not isinstance(host, str) or not host:
        raise PrivateTarget("A local socket")
    if not is_public(host):
        check_host(host)
