"""What Django's schema editor cannot make: storage, an index over two columns as one text, a row."""

from django.db import migrations

COUNTERS = """
-- Counter rows change with every start: room in the page lets PostgreSQL do so without touching
-- the indexes (HOT), and an eager vacuum keeps the page small.
ALTER TABLE counters SET (fillfactor = 40, autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 2000);
ALTER TABLE work_order_runs SET (fillfactor = 85);
-- The counter that is always there.
INSERT INTO counters (key, scope, subject, "window", starts_at)
VALUES ('open:0:global:', 'global', '', 'open', 'epoch');
"""

LIMITS = "CREATE INDEX budgets_covers ON budgets ((scope || ':' || subject));"

OPERATIONS = [migrations.RunSQL(text) for text in (COUNTERS, LIMITS)]
