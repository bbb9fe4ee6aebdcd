from opslog.admin import events, outbox, prices  # noqa: F401  (they register themselves)
