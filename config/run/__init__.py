"""`make run`: the supervisor and what it starts. Kept by hand: no library supervises an embedded
PostgreSQL, a web server and a job worker with one Ctrl-C."""
