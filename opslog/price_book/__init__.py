"""The prices in force: imported, one's own, and the history of both."""

__all__ = ["imported", "own", "prices"]
