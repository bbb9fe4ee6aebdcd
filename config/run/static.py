"""Collects the static files, and makes that of the API's schema, when they may have changed, and
only then: it takes seconds."""

import hashlib
import os
from importlib.metadata import distributions
from pathlib import Path

from django.conf import settings
from django.core.management import call_command


def fingerprint(base_dir: Path) -> str:
    """Changes with an installed package or with one of our own static files."""
    digest = hashlib.sha256()
    for line in sorted(f"{dist.name} {dist.version}" for dist in distributions()):
        digest.update(line.encode())
    for app in sorted(base_dir.glob("*/static")):
        for folder, _, names in sorted(os.walk(app)):
            for name in sorted(names):
                file = Path(folder, name)
                status = file.stat()
                digest.update(f"{file} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()


def collect_if_changed() -> bool:
    """Whether anything had to be collected."""
    from config import api_schema  # reads the settings on import

    root = Path(settings.STATIC_ROOT)
    stamp, now = root / ".fingerprint", fingerprint(settings.BASE_DIR)
    changed = not stamp.exists() or stamp.read_text() != now
    if changed:
        call_command("collectstatic", interactive=False, verbosity=0)
        stamp.write_text(now)
    api_schema.document()
    return changed
