"""Tamper evidence: events are put into numbered, signed, chained batches (docs/tamper-evidence.md).

The format is that of `opslog.seal_format`; what is in here reads and writes.
"""

__all__ = ["expiry", "heads", "keys", "private_files", "proofs", "sealer", "selectors", "verifier"]
