"""The format of the sealed history. Pure, so that anyone can verify it."""

__all__ = ["encoding", "findings", "merkle", "snapshots", "statements"]
