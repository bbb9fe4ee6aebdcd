"""The prices in force: imported, one's own, and the history of both."""
