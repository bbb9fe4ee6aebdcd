"""The database as the authority: its roles, stored routines, round trips and standbys."""
