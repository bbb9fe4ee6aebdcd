"""Who runs what, where people start processes as root: PostgreSQL refuses it, and what answers
programs and runs jobs has no business with the keys that only root can read."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from ctypes import CDLL
from dataclasses import dataclass, field
from pathlib import Path

PR_SET_PDEATHSIG = 1
NOBODYS = 64_907  # of those that systemd gives to services for a while, so no person's
DAC_OVERRIDE, DAC_READ_SEARCH = 1, 2  # bit numbers, linux/capability.h


def die_with_parent(number: int = signal.SIGTERM) -> Callable[[], None] | None:
    """A `preexec_fn` by which Linux sends the child a signal when its parent is gone, even by -9.

    The parent is the *thread* that starts the child: start children from the main thread.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl, parent = CDLL(None).prctl, os.getpid()

    def preexec() -> None:
        prctl(PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:
            os.kill(os.getpid(), number)

    return preexec


def reaches(paths: Sequence[Path], uid: int, gid: int | None) -> bool:
    """Whether that user may enter these folders and run these programs."""
    probe = ["/bin/sh", "-c", 'for p; do [ -x "$p" ] || exit 1; done', "sh"]
    argv = [*probe, *(str(path) for path in paths)]
    result = subprocess.run(argv, user=uid, group=gid, extra_groups=[], check=False)
    return result.returncode == 0


@dataclass(frozen=True)
class RunAs:
    """A user that processes run as; None where it is the current one."""

    uid: int | None = None
    gid: int | None = None

    def own(self, path: Path) -> None:
        """Gives a path to this user: what `sudo make run` made stays usable without sudo."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


class ProcessUser(RunAs):
    """The user that the web server and the job worker run as."""

    @classmethod
    def choose(cls, *paths: Path) -> "ProcessUser":
        """As root: the user `tollgate`, else a number that nobody has; root where that user could
        not get to these paths (a clone in /root). Otherwise the current one."""
        if os.geteuid() != 0:
            return cls()
        try:
            found = pwd.getpwnam("tollgate")
            uid, gid = found.pw_uid, found.pw_gid
        except KeyError:
            uid = gid = NOBODYS
        return cls(uid, gid) if uid != 0 and reaches(paths, uid, gid) else cls()

    @property
    def env(self) -> dict[str, str]:
        return {} if self.uid is None else {"HOME": "/"}


@dataclass(frozen=True)
class ServerUser(RunAs):
    """The user that PostgreSQL's processes run as."""

    is_nobody: bool = False
    capabilities: tuple[str, ...] = field(default=())

    @classmethod
    def choose(cls, folder: Path) -> "ServerUser":
        """As root: the owner of an existing cluster or of the folder above, else who used sudo."""
        if os.geteuid() != 0:
            return cls()
        nobody = pwd.getpwnam("nobody")
        for candidate in (folder / "postgres", folder, folder.parent):
            if candidate.exists() and (status := candidate.stat()).st_uid != 0:
                return cls(status.st_uid, status.st_gid, status.st_uid == nobody.pw_uid)
        if (sudo := int(os.environ.get("SUDO_UID") or 0)) != 0:
            return cls(sudo, int(os.environ.get("SUDO_GID") or sudo))
        return cls(nobody.pw_uid, nobody.pw_gid, is_nobody=True)

    def share(self, folder: Path) -> None:
        """Lets this user pass through the data folder; `nobody` gets the way and no more."""
        if self.is_nobody and self.gid is not None:
            os.chown(folder, -1, self.gid)
            folder.chmod(0o710)
        else:
            self.own(folder)

    def reaching(self, *paths: Path) -> "ServerUser":
        """The same user, given a capability if it cannot get to these paths (a clone in /root)."""
        if self.uid is None or reaches(paths, self.uid, self.gid):
            return self
        mask = effective_capabilities()
        if shutil.which("setpriv"):
            for bit, name in ((DAC_READ_SEARCH, "dac_read_search"), (DAC_OVERRIDE, "dac_override")):
                if mask >> bit & 1:
                    return ServerUser(self.uid, self.gid, self.is_nobody, (f"+{name}",))
        raise PermissionError(
            f"PostgreSQL does not run as root, and user {self.uid} cannot read {paths[0]}: "
            "run as an ordinary user, or move the project to a folder that others may enter"
        )

    def popen(
        self,
        argv: list[str],
        *,
        output: int,
        on_parent_death: int,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> "subprocess.Popen[bytes]":
        """Starts a program as this user, in a session of its own."""
        uid = gid = None
        if self.capabilities:
            caps = ",".join(self.capabilities)
            argv = [
                *("setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"),
                *(f"--inh-caps={caps}", f"--ambient-caps={caps}"),
                # Or access(2), by which initdb looks for postgres, would not see the capability.
                "--securebits=+no_setuid_fixup",
                *("--pdeathsig", signal.Signals(on_parent_death).name[3:], "--", *argv),
            ]
        else:
            uid, gid = self.uid, self.gid
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent(on_parent_death),  # noqa: PLW1509
            env=env,
            cwd=cwd,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
        )


def effective_capabilities() -> int:
    """The bit mask of this process's effective capabilities; 0 where there is no /proc."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    lines = (line.split() for line in status.splitlines())
    return next((int(words[1], 16) for words in lines if words[0] == "CapEff:"), 0)
