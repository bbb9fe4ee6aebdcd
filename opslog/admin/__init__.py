from opslog.admin import changes, events, outbox, prices  # noqa: F401  (they register themselves)
