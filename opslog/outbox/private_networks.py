"""Keeps messages from being sent to this machine and its neighbours (private networks).

Every connection of the guarded code is looked at when it is made, by an audit hook of Python: so a
redirect, a second address of a name, and a name that resolves differently a moment later are all
refused. Rejected: judging the host of the address alone, which sees none of these.
"""

import ipaddress
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import cache, partial
from typing import Any

# Where the standard library's `is_global` alone is not enough. It follows the registries of IANA,
# which call some addresses global that a cloud answers from inside, and count ranges of IPv6 as
# global that were never given to anybody, or that carry an IPv4 address.
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # judged by the IPv4 address that it carries
NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32",  # Azure's host
            "192.0.0.0/24",  # of protocols; 192.0.0.192 is Oracle Cloud's metadata
            "192.88.99.0/24",  # relays of 6to4
            "2001::/23",  # of protocols, Teredo among them
            "2002::/16",  # 6to4
            "3fff::/20",  # for documentation
        ),
    )
)
CONNECTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
OTHER_WAYS_OUT = frozenset(
    {
        "subprocess.Popen",
        *("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"),
    }
)


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
        if address.ipv4_mapped:
            address = address.ipv4_mapped
        elif address in NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        elif address not in GLOBAL_UNICAST:
            return False
    return (
        address.is_global
        and not address.is_multicast
        and not any(address in network for network in NOT_PUBLIC)
    )


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
    in this context, in those copied from it, and for good in every thread that is started in it.
    A pool that was there before is not seen, unless it is handed a copy of the context.
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
    """Once per process: an audit hook cannot be taken away again. It costs nothing elsewhere.

    A thread begins in an empty context, so that what is guarded here would be free there. (Python
    before 3.12 audits no start of a thread.)
    """
    sys.addaudithook(_hook)
    begin = threading.Thread.start

    def start(self: threading.Thread) -> None:
        if _refused.get() is not None:
            self.run = partial(copy_context().run, self.run)  # type: ignore[method-assign]
        begin(self)

    threading.Thread.start = start  # type: ignore[method-assign]


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
    # A name would be looked up once here and once more by the system, which may find another.
    if not isinstance(host, str) or not is_public(host):
        refused.append("an address")
        raise PrivateTarget("A local socket, a name, or an address on a private network")
