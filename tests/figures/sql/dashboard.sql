-- line.today.used
SELECT 'today', sum(settled + reserved) FROM spent, clock WHERE at >= today;

-- line.hour.used
SELECT 'hour', sum(settled + reserved) FROM committed, clock
WHERE at >= date_bin('1 minute', now - interval '60 minutes', 'epoch');

-- line.minute.used
SELECT 'minute', coalesce(sum(settled + reserved), 0) FROM committed, clock
WHERE at >= date_bin('5 seconds', now - interval '60 seconds', 'epoch');

-- line.today.limit
SELECT 'today', amount FROM budgets WHERE scope = 'global' AND "window" = 'day' AND measure = 'usd';

-- line.hour.limit
SELECT 'hour', amount FROM budgets WHERE scope = 'global' AND "window" = 'rolling_hour' AND measure = 'usd';

-- line.minute.limit
SELECT 'minute', amount FROM budgets WHERE scope = 'global' AND "window" = 'rolling_minute' AND measure = 'usd';

-- line.low
SELECT least(round(used + pace / 60 * extract(epoch FROM today + interval '1 day' - now) / 60, 2),
    used + pg_temp.usual(NULL, now, today + interval '1 day'))
FROM clock, (SELECT sum(settled + reserved) AS used FROM spent, clock WHERE at >= today) s,
    (SELECT sum(settled + reserved) AS pace FROM committed, clock
     WHERE at >= date_bin('1 minute', now - interval '60 minutes', 'epoch')) p;

-- line.high
SELECT greatest(round(used + pace / 60 * extract(epoch FROM today + interval '1 day' - now) / 60, 2),
    used + pg_temp.usual(NULL, now, today + interval '1 day'))
FROM clock, (SELECT sum(settled + reserved) AS used FROM spent, clock WHERE at >= today) s,
    (SELECT sum(settled + reserved) AS pace FROM committed, clock
     WHERE at >= date_bin('1 minute', now - interval '60 minutes', 'epoch')) p;

-- line.usage.runs
SELECT count(*) FROM work_order_runs, clock WHERE started_at >= today;

-- line.usage.open_runs
SELECT count(*) FROM work_order_runs WHERE status = 'running';

-- alarms.incident.cost_usd_per_hour
SELECT id::text, cost_usd_per_hour FROM incidents WHERE state NOT IN ('stabilised', 'reviewed');

-- alarms.incident.baseline_usd_per_hour
SELECT id::text, baseline_usd_per_hour FROM incidents WHERE state NOT IN ('stabilised', 'reviewed');

-- burning.each.usd
SELECT of, usd FROM top;

-- burning.each.per_hour_usd
SELECT of, usd / extract(epoch FROM now - since) * 3600 FROM top, clock;

-- burning.each.runs_per_hour
SELECT t.of, round(t.runs / extract(epoch FROM now - since) * 3600) FROM top t, clock
WHERE name <> '' AND %(by)s <> 'model'
    AND (%(by)s <> 'work_order' OR name IN (SELECT id FROM work_orders WHERE status = 'draft'))
    AND (%(by)s <> 'feature' OR name IN (SELECT feature FROM feature_flags WHERE enabled));

-- burning.each.open_runs
SELECT t.of, (SELECT count(*) FROM work_order_runs WHERE status = 'running'
    AND pg_temp.named(%(by)s, wo_id, model, agent_name, token_id, user_id, feature) = t.name)
FROM top t
WHERE name <> '' AND %(by)s <> 'model'
    AND (%(by)s <> 'work_order' OR name IN (SELECT id FROM work_orders WHERE status = 'draft'))
    AND (%(by)s <> 'feature' OR name IN (SELECT feature FROM feature_flags WHERE enabled));

-- burning.each.usual_usd
SELECT of, pg_temp.usual(name, since, now) FROM top, clock;

-- burning.burning.usd
SELECT %(by)s || ' ' || %(window)s, sum(usd) FROM in_window;

-- meter.meter.used
SELECT t.of || ' ' || m.name, CASE m.name WHEN 'usd' THEN d.settled + d.reserved ELSE d.runs END
FROM top t JOIN today d ON d.id = t.name, (VALUES ('usd'), ('runs')) m (name) WHERE %(by)s = 'work_order'
UNION ALL
SELECT of, used FROM (
    SELECT DISTINCT ON (t.of, b.measure) t.of || ' ' || CASE b.measure WHEN 'usd' THEN 'usd' ELSE 'runs' END AS of,
        coalesce(u.settled + u.held, 0) AS used
    FROM top t JOIN budgets b ON b.scope = %(by)s AND b.amount IS NOT NULL AND b.measure IN ('usd', 'requests')
        AND (b.subject = t.name OR b.subject = '*' AND NOT EXISTS (SELECT FROM budgets o WHERE o.scope = b.scope
            AND o."window" = b."window" AND o.measure = b.measure AND o.subject = t.name))
    LEFT JOIN used u ON u.id = b.id AND u.subject = t.name
    WHERE t.name <> '' AND %(by)s <> 'work_order'
    ORDER BY t.of, b.measure, coalesce(u.settled + u.held, 0) / b.amount DESC, b.id) x;

-- meter.meter.limit
SELECT t.of || ' ' || m.name, CASE m.name WHEN 'usd' THEN d.usd_cap ELSE d.runs_cap END
FROM top t JOIN today d ON d.id = t.name, (VALUES ('usd'), ('runs')) m (name) WHERE %(by)s = 'work_order'
UNION ALL
SELECT of, amount FROM (
    SELECT DISTINCT ON (t.of, b.measure) t.of || ' ' || CASE b.measure WHEN 'usd' THEN 'usd' ELSE 'runs' END AS of, b.amount
    FROM top t JOIN budgets b ON b.scope = %(by)s AND b.amount IS NOT NULL AND b.measure IN ('usd', 'requests')
        AND (b.subject = t.name OR b.subject = '*' AND NOT EXISTS (SELECT FROM budgets o WHERE o.scope = b.scope
            AND o."window" = b."window" AND o.measure = b.measure AND o.subject = t.name))
    LEFT JOIN used u ON u.id = b.id AND u.subject = t.name
    WHERE t.name <> '' AND %(by)s <> 'work_order'
    ORDER BY t.of, b.measure, coalesce(u.settled + u.held, 0) / b.amount DESC, b.id) x;

-- attention.times
SELECT r.wo_id || ' ' || r.reason, sum(r.times) FROM refused r, clock, (
    SELECT t.id FROM today t CROSS JOIN cost_rules c LEFT JOIN cost_statistics s ON s.wo_id = t.id
    WHERE t.status = 'suspended' OR (t.status = 'draft' AND (t.runs >= t.runs_cap OR t.settled + t.reserved > t.usd_cap
        - tollgate.default_usd(s.p95_usd, s.successful_runs, c.floor_usd, c.floor_runs, t.runs_cap::integer, t.usd_cap)))
) b WHERE r.wo_id = b.id AND r.at >= today GROUP BY 1;

-- chart.cell.value
SELECT chart || ' ' || to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' ' || CASE WHEN chart LIKE 'US%%' THEN pg_temp.label(%(chart)s, name)
    ELSE CASE name WHEN 'concurrency' THEN 'concurrent runs' WHEN 'runs_per_day' THEN 'runs/day cap'
        WHEN 'usd_per_day' THEN 'budget cap' WHEN 'user_quota' THEN 'quota of a user'
        WHEN 'address_rate' THEN 'calls from one address' WHEN 'budget:global:day' THEN 'global day budget'
        ELSE replace(name, '_', ' ') END END, value
FROM drawn;
