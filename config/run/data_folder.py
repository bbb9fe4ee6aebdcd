"""The data folder: where everything lives that one installation has."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from config.run.privileges import ServerUser
from opslog.sealing import private_files

# A name that can never exist (RFC 6761), which says what to do where it is complained about.
NOT_RUNNING = "tollgate-is-not-running.start-it-with-make-run.invalid"


class EmbeddedError(Exception):
    """The embedded server cannot serve; the message is one line that says why and what to do."""


@dataclass(frozen=True)
class DataFolder:
    """Where everything lives that one installation has: the cluster, the addresses, the key."""

    path: Path

    @classmethod
    def from_environment(cls, base_dir: Path) -> "DataFolder":
        chosen = os.environ.get("TOLLGATE_DATA", "")
        return cls(Path(chosen).expanduser().absolute() if chosen else base_dir / ".tollgate")

    def create(self) -> ServerUser:
        """Makes the folder, for its owner alone, and says who PostgreSQL runs as there."""
        try:
            user = ServerUser.choose(self.path)
            if not self.path.exists():
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                user.share(self.path)
            if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(13, "not writable by this user")
        except OSError as error:
            reason = error.strerror or error
            raise EmbeddedError(f"The data folder {self.path} is unusable: {reason}.") from None
        return user

    def secret_key(self) -> str:
        """The installation's secret key, made once; two processes that race get the same one."""
        file = self.path / "secret_key"
        if not file.exists():
            self.create()
            self.write("secret_key", secrets.token_urlsafe(50), replace=False)
        try:
            return file.read_text()
        except OSError as error:
            raise EmbeddedError(f"{file} cannot be read: {error.strerror}.") from None

    def write(self, name: str, text: str, *, replace: bool = True) -> None:
        """Writes a private file (0600) in one step; with replace=False the first writer wins."""
        target = self.path / name
        try:
            private_files.write(target, text, replace=replace)
        except OSError as error:
            raise EmbeddedError(f"{target} cannot be written: {error.strerror}.") from None

    def app_url(self) -> str:
        return self._url("app_url", "tollgate_app")

    def owner_url(self) -> str:
        return self._url("owner_url", "tollgate_owner")

    def _url(self, name: str, role: str) -> str:
        """The address the running server left here, else one that fails on use and says why.

        Settings must load for `--help` and `makemigrations --check` with no server there, so
        the complaint waits until somebody connects.
        """
        try:
            return (self.path / name).read_text()
        except FileNotFoundError:
            return f"postgres://{role}@{NOT_RUNNING}/tollgate"
        except OSError as error:
            raise EmbeddedError(f"{self.path / name} cannot be read: {error.strerror}.") from None
