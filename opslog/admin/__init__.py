from opslog.admin import events, incidents, outbox, prices  # noqa: F401  (they register themselves)
