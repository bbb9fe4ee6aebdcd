"""The database as the authority: its roles, stored routines, round trips and standbys."""

__all__ = ["another_database", "authority", "exposure", "query", "roles", "routines", "standby"]
