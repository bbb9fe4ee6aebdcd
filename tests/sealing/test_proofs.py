"""A proof leaves the house: it is checked by a program that shares no code with Tollgate."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from opslog.models import SealKey
from opslog.seal_format.statements import Signer
from opslog.sealing import proofs
from tests.sealing.scene import CHECKER, Sealed, log_ids


def check(folder: Path, proof: dict[str, Any], *trust: str) -> tuple[int, str]:
    file = folder / "proof.json"
    file.write_text(json.dumps(proof))
    # Isolated: neither this repository nor its settings are there.
    done = subprocess.run(
        [sys.executable, "-I", str(CHECKER), str(file), *trust],
        cwd=folder,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def own_key(sealed: Sealed) -> str:
    return Signer.from_text(sealed.key_file.read_text()).public_key.hex()


def test_every_event_can_be_proven(sealed: Sealed) -> None:
    sealed.seal(1, 2, 5)
    for event in log_ids():
        code, result = check(sealed.folder, proofs.export(event), "--heads", str(sealed.heads_file))
        assert code == 0, result
        assert f"Event {event}" in result


def test_by_the_key_alone(sealed: Sealed) -> None:
    sealed.seal(3)
    proof = proofs.export(log_ids()[1])
    assert check(sealed.folder, proof, "--key", own_key(sealed))[0] == 0
    code, result = check(sealed.folder, proof, "--key", "00" * 32)
    assert code == 1
    assert "not one that you trust" in result
    assert check(sealed.folder, proof)[0] == 2  # whom to trust has to be given


CHANGES = {
    "event": {"message": "other"},
    "event.id": {"id": 7_000_000},
    "event.meta": {"meta": "{}"},
    "event.created_at": {"created_at": "2026-01-01T00:00:00.000000Z"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_event_that_was_changed(sealed: Sealed, change: str) -> None:
    sealed.seal(3)
    proof = proofs.export(log_ids()[1])
    proof["event"] |= CHANGES[change]
    code, result = check(sealed.folder, proof, "--heads", str(sealed.heads_file))
    assert code == 1
    assert "not what was sealed" in result


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("position", 0),
        ("path", []),
        ("signature", "00" * 64),
        ("publicKey", "00" * 32),
        ("format", "other"),
        ("event", None),
    ],
)
def test_a_proof_that_was_changed(sealed: Sealed, part: str, value: object) -> None:
    sealed.seal(3)
    proof = proofs.export(log_ids()[1])
    proof[part] = value
    assert check(sealed.folder, proof, "--key", own_key(sealed))[0] == 1


@pytest.mark.parametrize("name", ["number", "count", "sealedAt", "root", "previous", "keyId"])
def test_a_seal_that_was_changed(sealed: Sealed, name: str) -> None:
    sealed.seal(3)
    proof = proofs.export(log_ids()[1])
    proof["seal"][name] = 9 if name in ("number", "count") else "11" * 32
    assert check(sealed.folder, proof, "--key", own_key(sealed))[0] == 1


def test_a_true_signature_over_another_history(sealed: Sealed) -> None:
    """The head file knows another seal of that number."""
    sealed.seal(3)
    proof = proofs.export(log_ids()[1])
    line = json.loads(sealed.heads_file.read_text())
    sealed.heads_file.write_text(json.dumps({**line, "hash": "00" * 32}))
    code, result = check(sealed.folder, proof, "--heads", str(sealed.heads_file))
    assert code == 1
    assert "another seal" in result


def test_no_proof_of_what_is_not_sealed_or_not_as_sealed(sealed: Sealed) -> None:
    sealed.seal(2)
    [first, _] = log_ids()
    [new] = sealed.write(1)
    for event, why in ((new, "no seal yet"), (10**9, "no event")):
        with pytest.raises(proofs.NoProof, match=why):
            proofs.export(event)
    sealed.tamper(f"UPDATE operations_events SET actor = 'x' WHERE id = {first}")
    with pytest.raises(proofs.NoProof, match="not what was sealed"):
        proofs.export(first)
    with pytest.raises(CommandError, match="not what was sealed"):
        call_command("export_proof", str(first))


def test_the_command_prints_it(sealed: Sealed, capsys: pytest.CaptureFixture[str]) -> None:
    sealed.seal(2)
    call_command("export_proof", str(log_ids()[0]))
    proof = json.loads(capsys.readouterr().out)
    assert proof == proofs.export(log_ids()[0])
    assert SealKey.objects.get().key_id == proof["seal"]["keyId"]
