"""The triage at work: what it reads from the hourly sums and the events, when it runs, and how a
labelled case is played. The rules themselves are pure and stand in `opslog.triage`."""
