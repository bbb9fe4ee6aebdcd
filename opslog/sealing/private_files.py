"""Files that only their owner may read, written in one step or not at all."""

import os
import secrets
from pathlib import Path


def write(target: Path, text: str, *, replace: bool) -> None:
    """Mode 0600, on disk when this returns. Without `replace` the first of two writers wins.

    Raises OSError. As root the file goes to whoever owns the folder, as the rest of it does.
    """
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        give_to_owner_of_folder(draft)
        if replace:
            draft.replace(target)
        else:
            try:
                os.link(draft, target)
            except FileExistsError:
                return
        sync_folder(target.parent)
    finally:
        draft.unlink(missing_ok=True)


def give_to_owner_of_folder(path: Path) -> None:
    if os.geteuid() == 0 and (folder := path.parent.stat()).st_uid != 0:
        os.chown(path, folder.st_uid, folder.st_gid)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
