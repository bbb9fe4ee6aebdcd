from workorders.admin import agents, runs, tokens  # noqa: F401  (they register themselves)
