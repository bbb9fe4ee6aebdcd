"""What a decision reads, and the past that it must not read."""

READ = """
SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)
FROM pg_stat_xact_user_tables WHERE relname = ANY (%s)
"""
# A day of every window of everything, and of ten thousand work orders; all of it is over.
PAST = """
INSERT INTO counters (key, scope, subject, "window", starts_at)
SELECT tollgate.counter_key(scope, subject, win, at), scope, subject, win, at
FROM (
    SELECT 'global' AS scope, '' AS subject, win, at
    FROM unnest('{rolling_minute,rolling_hour,minute,hour,day,month}'::text[]) win,
        generate_series(now() - interval '4 days', now() - interval '2 days', '1 minute') at
    UNION ALL
    -- (Of other users, just now.)
    SELECT 'user', 'other-' || n, 'rolling_minute', date_bin('5 seconds', now(), 'epoch')
    FROM generate_series(1, 10000) n
    UNION ALL
    SELECT 'work_order', 'old-' || n, win, now() - interval '2 days'
    FROM generate_series(1, 10000) n, unnest('{open,day}'::text[]) win
) past
"""
LIMITS = """
INSERT INTO budgets (scope, subject, "window", measure, amount)
SELECT 'user', 'other-' || n, 'day', 'usd', 1 FROM generate_series(1, 5000) n
"""
