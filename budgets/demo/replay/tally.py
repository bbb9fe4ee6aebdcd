"""What a replay counted, by the service's answers."""

import threading
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from client.python.tollgate_client import Admission, Settlement


@dataclass
class Tally:
    """Written by many threads at once; read when they have ended, or for the progress bar.

    asked = admitted + refused + failed. `failed` is an ask without a decision.
    """

    asked: int = 0
    admitted: int = 0
    unsettled: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    reserved_usd: Decimal = Decimal(0)
    settled_usd: Decimal = Decimal(0)
    overrun_usd: Decimal = Decimal(0)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def ask(self) -> None:
        with self._lock:
            self.asked += 1

    def admit(self, admission: Admission) -> None:
        with self._lock:
            self.admitted += 1
            self.reserved_usd += admission.reserved_usd

    def refuse(self, denial: str) -> None:
        with self._lock:
            self.refused[denial] += 1

    def fail(self, trouble: str) -> None:
        with self._lock:
            self.failed[trouble] += 1

    def settle(self, settlement: Settlement | None) -> None:
        with self._lock:
            if settlement is None:
                self.unsettled += 1
                return
            self.settled_usd += settlement.cost_usd
            self.overrun_usd += settlement.overrun_usd
