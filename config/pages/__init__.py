"""Pages that join all floors: the first page, navigation, runbooks, people."""
