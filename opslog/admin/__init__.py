from opslog.admin import events, prices  # noqa: F401  (they register themselves)
