"""What the connections of one process share: who is there, how many may be, what they hold."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING

from config.server import lanes
from config.server.strangers import Strangers
from config.server.threads import Threads

if TYPE_CHECKING:
    from config.server.connection import Connection
    from config.server.door import Door


@dataclass
class House:
    """What the connections of one process share."""

    loop: asyncio.AbstractEventLoop
    threads: Threads
    lane: lanes.Lane | None  # None: answers everything itself
    # Descriptor, what was read, whether by the port for programs → False: not possible now
    pass_on: Callable[[int, bytes, bool], bool]
    request_seconds: float
    most_connections: int
    most_per_address: int
    exempt: Callable[[str], bool]  # addresses that many clients come from: trusted proxies
    door: "Door | None" = None  # None: Django answers everything
    strangers: Strangers = field(default_factory=Strangers)
    # Oldest first; a dict is a set with an order.
    connections: "dict[Connection, None]" = field(default_factory=dict)
    of_client: "dict[str, dict[Connection, None]]" = field(default_factory=dict)
    held: int = 0  # bytes of bodies, in memory and in files
    closing: bool = False
    _date: tuple[int, str] = (0, "")

    def look(self) -> None:
        """Between requests: the decisions that are there meanwhile do not wait for the others."""
        if self.door is not None:
            self.door.gatherer.look()

    def room_for(self, connection: "Connection") -> bool:
        """Whether it may stay. If there are too many, the oldest goes that nobody of ours uses: it
        has brought no good token yet, and no thread works for it."""
        self.connections[connection] = None
        own = self.of_client.setdefault(connection.client, {})
        own[connection] = None
        if len(self.connections) > self.most_connections:
            return self.end_oldest(self.connections, connection)
        if len(own) > self.most_per_address and not connection.from_proxy:
            return self.end_oldest(own, connection)
        return True

    @staticmethod
    def end_oldest(among: "dict[Connection, None]", newest: "Connection") -> bool:
        for each in among:
            if each is not newest and not each.busy and not each.good:
                each.abort()
                return True
        return False

    def remove(self, connection: "Connection") -> None:
        self.connections.pop(connection, None)
        own = self.of_client.get(connection.client)
        if own is not None:
            own.pop(connection, None)
            if not own:
                del self.of_client[connection.client]

    def date(self) -> str:
        now = int(time.time())
        if self._date[0] != now:
            self._date = (now, f"Date: {formatdate(now, usegmt=True)}\r\n")
        return self._date[1]
