"""64 writers, some of whom commit late, while the log is sealed and verified all the time."""

import random
import threading

from django.db import connections

from opslog.seal_format.findings import Finding
from opslog.sealing import sealer
from tests.sealing.scene import Sealed, insert, log_ids, run_all

WRITERS = 64
TRANSACTIONS = 6


def test_no_false_alarm(sealed: Sealed) -> None:
    writers_left = threading.Semaphore(0)
    done = threading.Event()
    alarms: list[Finding] = []
    verified = sealed_in_between = 0

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with sealed.app() as writer:
            turns = 0
            # One of them goes on until there was a seal and a verification in between.
            while turns < TRANSACTIONS or (seed == 0 and not (verified and sealed_in_between)):
                turns += 1
                writer.execute("BEGIN")
                for _ in range(chance.randint(1, 4)):
                    insert(writer)
                    if seed % 8 == 0:  # an open transaction, over several seals
                        writer.execute("SELECT pg_sleep(%s)", [chance.uniform(0, 0.3)])
                writer.execute("ROLLBACK" if chance.random() < 0.2 else "COMMIT")
        writers_left.release()

    def wait_for_writers() -> None:
        for _ in range(WRITERS):
            writers_left.acquire()
        done.set()

    def seal() -> None:
        nonlocal sealed_in_between
        while not done.is_set():
            sealed_in_between += sealer.seal().events
        connections.close_all()

    def verify() -> None:
        nonlocal verified
        while not done.is_set():
            alarms.extend(sealed.verify().findings)
            verified += 1
        connections.close_all()

    run_all([*(lambda n=n: write(n) for n in range(WRITERS)), wait_for_writers, seal, seal, verify])
    assert alarms == []
    assert verified > 0
    assert sealed_in_between > 0
    while sealer.seal().events:
        pass
    report = sealed.verify()
    assert report.findings == []
    assert report.unsealed == 0
    assert report.sealed == len(log_ids()) > WRITERS
