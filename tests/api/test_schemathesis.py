"""Whatever the schema allows, and much that it does not, and sequences of it: no 5xx, no answer
that the schema does not tell of."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.harness import Api

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
    "use_after_free",
    "negative_data_rejection",
)


@pytest.mark.timeout(150)
def test_no_server_error_and_nothing_undocumented(api: Api, tmp_path: Path) -> None:
    """In a folder of its own, where it may keep what it finds."""
    argv = [sys.executable, "-m", "schemathesis.cli", "run", f"{api.service.url}/api/schema"]
    argv += ["--header", f"Authorization: Bearer {api.tokens['all']}", "--seed", "1"]
    argv += ["--checks", ",".join(CHECKS), "--max-examples", "10", "--max-time", "25", "--no-color"]
    found = subprocess.run(
        argv, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
    assert api.errors() == []
