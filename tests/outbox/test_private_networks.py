"""Which addresses are public, and that every way out is looked at."""

import contextvars
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from opslog.private_networks import PrivateTarget, is_public, public_only
from tests.outbox.sinks import HttpSink, served


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104
        "10.0.0.1",
        "100.64.0.1",  # shared by a carrier's customers
        "127.0.0.1",
        "127.8.9.1",
        "169.254.169.254",  # the metadata of a cloud
        "172.16.0.1",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",  # the same machine, written as IPv6
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",  # through a translator
        "2002:7f00:1::1",  # through a tunnel
        "localhost",
        "",
    ],
)
def test_not_public(address: str) -> None:
    assert not is_public(address)


def test_every_way_out_is_looked_at() -> None:
    """Nothing here is asked for by the guarded code: it is Python that tells of it."""
    with served(HttpSink()) as sink, socket.socket(socket.AF_UNIX) as local:
        target = ("127.0.0.1", sink.port)
        socket.create_connection(target).close()  # the control
        with public_only() as refused:
            for way in (
                lambda: socket.create_connection(target),
                lambda: socket.create_connection(("localhost", sink.port)),
                lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", target),
                lambda: local.connect("/nowhere"),
                lambda: subprocess.run(["true"]),
            ):
                with pytest.raises(PrivateTarget):
                    way()
            assert len(refused) >= 5
        socket.create_connection(target).close()


def test_it_holds_for_a_pool_that_copies_the_context_and_for_nobody_else() -> None:
    with served(HttpSink()) as sink, ThreadPoolExecutor(1) as pool:
        target = ("127.0.0.1", sink.port)
        with public_only():
            copied = contextvars.copy_context()
            with pytest.raises(PrivateTarget):
                pool.submit(copied.run, socket.create_connection, target).result()
            other = threading.Thread(target=lambda: socket.create_connection(target).close())
            other.start()
            other.join()
