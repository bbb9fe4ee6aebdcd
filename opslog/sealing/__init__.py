"""Tamper evidence: events are put into numbered, signed, chained batches (docs/tamper-evidence.md).

`encoding`, `merkle`, `snapshots` and `statements` are pure; `sealer`, `verifier`, `keys`, `heads`,
`proofs` and `expiry` read and write.
"""
