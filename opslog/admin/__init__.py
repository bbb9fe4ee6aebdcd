from opslog.admin import changes, events, hours, outbox, prices  # noqa: F401  (they register themselves)
