from opslog.admin import events, outbox, prices, seals  # noqa: F401  (they register themselves)
