"""Which addresses are public, and that every way out is looked at."""

import contextvars
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from opslog.outbox.private_networks import PrivateTarget, is_public, public_only
from tests.outbox.sinks import HttpSink, served


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
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
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::a83f:8110",
        "64:ff9b:1::101:101",  # a translator of the house
        "2002:7f00:1::1",  # through a tunnel
        "2002:101:101::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo
        "::127.0.0.1",
        "::1.1.1.1",
        "::ffff:0:127.0.0.1",
        "::ffff:0:1.1.1.1",
        "fec0::1",  # as private as fd00:: once
        "5f00::1",
        "4000::1",
        "2001:db8::1",
        "3fff::1",
        "100::1",
        "ff0e::1",
        "::ffff:168.63.129.16",
        # The metadata of clouds.
        *("168.63.129.16", "192.0.0.192", "100.100.100.200", "169.254.170.2", "169.254.42.42"),
        *("fd00:ec2::254", "fd20:ce::254", "fd00:42::42", "fd00:a9fe:a9fe::1"),
        "192.0.0.9",
        "192.88.99.1",
        "240.0.0.1",
        # Names, whatever they mean.
        *("2130706433", "127.1", "0x7f000001", "0177.0.0.1", "１27.0.0.1"),
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


def test_it_holds_for_threads_and_pools_of_the_guarded_code_and_for_nobody_else() -> None:
    with served(HttpSink()) as sink, ThreadPoolExecutor(1) as pool:
        target = ("127.0.0.1", sink.port)
        outside = threading.Event()
        reached: list[socket.socket] = []

        def unguarded() -> None:
            outside.wait()
            reached.append(socket.create_connection(target))

        before = threading.Thread(target=unguarded)
        before.start()
        with public_only() as refused:
            copied = contextvars.copy_context()
            with pytest.raises(PrivateTarget):
                pool.submit(copied.run, socket.create_connection, target).result()
            raised: list[BaseException | None] = []

            class Plain(threading.Thread):
                def run(self) -> None:
                    try:
                        socket.create_connection(target).close()
                    except PrivateTarget as error:
                        raised.append(error)

            def nested() -> None:
                inner = Plain()
                inner.start()
                inner.join()

            for thread in (Plain(), threading.Thread(target=nested)):
                thread.start()
                thread.join()
            assert len(raised) == 2
            with ThreadPoolExecutor(1) as made_here, pytest.raises(PrivateTarget):
                made_here.submit(socket.create_connection, target).result()
            assert len(refused) == 4
            outside.set()
            before.join()
        other = threading.Thread(target=lambda: reached.append(socket.create_connection(target)))
        other.start()
        other.join()
        assert len(reached) == 2
        for connection in reached:
            connection.close()


def test_a_name_is_not_looked_up_twice() -> None:
    """Rebinding: the hook would judge one answer, and the system connect to another."""
    with public_only() as refused, socket.socket() as out:
        out.settimeout(1)
        with pytest.raises(PrivateTarget):
            out.connect(("16843009", 443))  # what the system takes for 1.1.1.1
    assert refused == ["an address"]
