"""Settlements on disk until the service has them, so that a process that dies loses none.

A folder with one file of JSON for each run. An entry is written before the first attempt to send
it: to a file of its own that is flushed to disk and then renamed, so that it is there as a whole or
not at all, and it is removed once the service has answered. Any number of processes may use one
folder: sending an entry twice gets the same answer twice. No token and no prompt is written.
"""

import contextlib
import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger("tollgate_client")

VERSION = 1
LARGEST_ENTRY_BYTES = 64 * 1024
KEPT_SECONDS = 30 * 86400.0
ABANDONED_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Entry:
    """What to tell the service about a run. `written` is in seconds since the epoch; `token` marks
    the token that the run belongs to, without revealing it."""

    url: str
    run_id: str
    body: Mapping[str, Any]
    token: str
    written: float

    @property
    def name(self) -> str:
        return hashlib.sha256(f"{self.url}\n{self.run_id}".encode()).hexdigest()[:40] + ".json"

    def text(self) -> str:
        return json.dumps(
            {
                "version": VERSION,
                "url": self.url,
                "runId": self.run_id,
                "body": dict(self.body),
                "token": self.token,
                "written": self.written,
            }
        )

    @classmethod
    def parse(cls, text: bytes) -> "Entry":
        """Raises ValueError for what is no entry."""
        try:
            data = json.loads(text)
            if data["version"] != VERSION or not isinstance(data["body"], dict):
                raise ValueError("of another version")
            entry = cls(
                url=str(data["url"]),
                run_id=str(data["runId"]),
                body=data["body"],
                token=str(data["token"]),
                written=float(data["written"]),
            )
            entry.name.encode()
        except (KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"not a settlement: {error!r}") from error
        return entry


def default_folder() -> Path:
    """$XDG_STATE_HOME/tollgate, where that is set; else ~/.local/state/tollgate."""
    state = os.getenv("XDG_STATE_HOME", "")
    return (Path(state) if state else Path.home() / ".local" / "state") / "tollgate"


class Journal:
    """The folder of undelivered settlements, made with mode 0700 where it is missing: now, or
    (`make` False) when the first settlement is written.

    Raises ValueError for a folder that others may write to: they could settle runs in its owner's
    name. Raises OSError where the folder cannot be made.
    """

    def __init__(self, folder: Path, *, url: str, make: bool = True) -> None:
        self.folder = folder
        self._url = url
        self._made = False
        if make:
            self._make()

    def _make(self) -> None:
        if self._made:
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = self.folder.stat()
        if hasattr(os, "geteuid") and (
            about.st_uid != os.geteuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        ):
            raise ValueError(f"{self.folder} has to belong to you and to be writable by you alone")
        self._made = True

    def write(self, entry: Entry) -> bool:
        """Whether the entry is on disk. It is logged where it is not: the work was paid for, and a
        full disk is no reason to fail it."""
        part = self.folder / f"{entry.name}.{os.getpid()}.{time.monotonic_ns()}.part"
        try:
            self._make()
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(entry.text())
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.folder / entry.name)
            self._flush_folder()
        except (OSError, ValueError) as error:
            log.error(  # noqa: TRY400  (expected: no traceback)
                "run %s: the settlement is not in the journal: %s", entry.run_id, error
            )
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            return False
        return True

    def remove(self, entry: Entry) -> None:
        try:
            (self.folder / entry.name).unlink(missing_ok=True)
        except OSError as error:  # it is sent again, which is harmless
            log.warning("run %s stays in the journal: %s", entry.run_id, error)

    def entries(self) -> Iterator[Entry]:
        """The entries for this service, oldest first. What is no entry is set aside."""
        found = [entry for path in self._files() if (entry := self._read(path)) is not None]
        yield from sorted(found, key=lambda entry: entry.written)

    def pending(self) -> int:
        """How many settlements wait here for this service."""
        return sum(1 for _ in self.entries())

    def _files(self) -> list[Path]:
        try:
            paths = sorted(self.folder.iterdir())
        except FileNotFoundError:  # nothing was written yet
            return []
        except OSError as error:
            log.error("the journal cannot be read: %s", error)  # noqa: TRY400  (as above)
            return []
        for path in paths:
            if path.suffix == ".part":  # a process died while it wrote
                with contextlib.suppress(OSError):
                    if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                        path.unlink()
        return [path for path in paths if path.suffix == ".json"]

    def _read(self, path: Path) -> Entry | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
            with open(descriptor, "rb") as file:
                entry = Entry.parse(file.read(LARGEST_ENTRY_BYTES))
        except FileNotFoundError:  # another process has just delivered it
            return None
        except (OSError, ValueError) as error:
            log.error(  # noqa: TRY400  (as above)
                "%s in the journal is unreadable and was set aside: %s", path.name, error
            )
            with contextlib.suppress(OSError):
                path.replace(path.with_suffix(".unreadable"))
            return None
        if entry.url != self._url:
            return None
        if time.time() - entry.written > KEPT_SECONDS:
            log.error("run %s was never settled: its journal entry has expired", entry.run_id)
            self.remove(entry)
            return None
        return entry

    def _flush_folder(self) -> None:
        """A rename is on disk once its folder is."""
        if not hasattr(os, "O_DIRECTORY"):
            return
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
