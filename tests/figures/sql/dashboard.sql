-- meter.meter.settled
SELECT 'Spent today, everything together', sum(settled) FROM spent, clock WHERE at >= today;

-- meter.meter.held
SELECT 'Spent today, everything together', sum(reserved) FROM spent, clock WHERE at >= today;

-- meter.meter.used
SELECT 'Spent today, everything together', sum(settled + reserved) FROM spent, clock WHERE at >= today
UNION ALL
SELECT id || ' ' || CASE "window" WHEN 'day' THEN 'a day (UTC)' WHEN 'rolling_hour' THEN 'in any 60 minutes'
    WHEN 'rolling_minute' THEN 'in any 60 seconds' END, settled + held
FROM most_used WHERE scope = 'global' AND measure = 'usd' AND amount IS NOT NULL
UNION ALL
SELECT t.id || ' ' || m.name, CASE m.name WHEN 'USD' THEN t.settled + t.reserved ELSE t.runs END
FROM (SELECT * FROM today WHERE runs > 0 AND status <> 'archived'
      ORDER BY greatest(runs / runs_cap, (settled + reserved) / usd_cap) DESC, id LIMIT 5) t,
    (VALUES ('USD'), ('runs')) m (name);

-- meter.meter.limit
SELECT 'Spent today, everything together', amount FROM budgets
WHERE scope = 'global' AND "window" = 'day' AND measure = 'usd'
UNION ALL
SELECT id || ' ' || CASE "window" WHEN 'day' THEN 'a day (UTC)' WHEN 'rolling_hour' THEN 'in any 60 minutes'
    WHEN 'rolling_minute' THEN 'in any 60 seconds' END, amount
FROM budgets WHERE scope = 'global' AND measure = 'usd' AND amount IS NOT NULL
UNION ALL
SELECT t.id || ' ' || m.name, CASE m.name WHEN 'USD' THEN t.usd_cap ELSE t.runs_cap END
FROM (SELECT * FROM today WHERE runs > 0 AND status <> 'archived'
      ORDER BY greatest(runs / runs_cap, (settled + reserved) / usd_cap) DESC, id LIMIT 5) t,
    (VALUES ('USD'), ('runs')) m (name);

-- meter.meter.share
SELECT 'Spent today, everything together', sum(settled + reserved) / (
    SELECT amount FROM budgets WHERE scope = 'global' AND "window" = 'day' AND measure = 'usd')
FROM spent, clock WHERE at >= today;

-- state.usage.direct_usd
SELECT sum(settled) FROM spent, clock WHERE at >= today AND calls = 1;

-- state.usage.direct_calls
SELECT count(*) FROM direct_spend, clock WHERE at >= today;

-- state.usage.runs
SELECT count(*) FROM work_order_runs, clock WHERE started_at >= today;

-- state.usage.open_runs
SELECT count(*) FROM work_order_runs WHERE status = 'running';

-- state.open_meter.limit
SELECT amount FROM budgets WHERE scope = 'global' AND "window" = 'open' AND measure = 'runs';

-- state.day.runs
SELECT count(*) FROM work_order_runs, clock WHERE started_at >= now - interval '24 hours';

-- state.day.ended
SELECT count(*) FROM work_order_runs, clock
WHERE started_at >= now - interval '24 hours' AND finished_at IS NOT NULL;

-- state.day.failed
SELECT count(*) FROM work_order_runs, clock
WHERE started_at >= now - interval '24 hours' AND status = 'error';

-- state.day.error_rate
SELECT count(*) FILTER (WHERE status = 'error')::numeric / count(*) FROM work_order_runs, clock
WHERE started_at >= now - interval '24 hours' AND finished_at IS NOT NULL;

-- state.day.refusals_in_all
SELECT sum(times) FROM refused, clock WHERE at >= now - interval '24 hours';

-- state.day.refusals_429
SELECT sum(times) FROM refused, clock WHERE at >= now - interval '24 hours' AND kind = 'RATE_LIMIT_429';

-- state.refused_today
SELECT sum(times) FROM refused, clock WHERE at >= today;

-- state.rate.minute_usd
SELECT sum(settled + reserved) FROM committed, clock
WHERE at >= date_bin('5 seconds', now - interval '60 seconds', 'epoch');

-- state.rate.hour_usd
SELECT sum(settled + reserved) FROM committed, clock
WHERE at >= date_bin('1 minute', now - interval '60 minutes', 'epoch');

-- state.rate.day_projected_usd
SELECT round((SELECT sum(settled + reserved) FROM spent, clock WHERE at >= today)
    + (SELECT sum(settled + reserved) FROM committed, clock
        WHERE at >= date_bin('1 minute', now - interval '60 minutes', 'epoch')) / 60
    * extract(epoch FROM today + interval '1 day' - now) / 60, 2)
FROM clock;

-- state.rate.month_projected_usd
SELECT round(sum(settled + reserved) * extract(epoch FROM (month + interval '1 month') - month)
    / extract(epoch FROM now - month), 2)
FROM spent, clock WHERE at >= month GROUP BY now, month;

-- state.each.times
SELECT reason || ':' || CASE kind WHEN 'RATE_LIMIT_429' THEN 429 ELSE 0 END, sum(times)
FROM refused, clock WHERE at >= now - interval '24 hours' GROUP BY 1
UNION ALL
SELECT of, times FROM (
    SELECT wo_id || ':' || reason || ':' || agent AS of, sum(times) AS times FROM refused, clock
    WHERE at >= now - interval '24 hours' GROUP BY 1 ORDER BY max(id) DESC LIMIT 6) f WHERE times > 1;

-- state.incident.excess_usd_of_all_phases
SELECT id::text, excess_usd_total + coalesce((SELECT sum((p->>'excessUsd')::numeric) FROM jsonb_array_elements(earlier) p), 0)
FROM incidents WHERE state <> 'reviewed';

-- chart.chart.busiest.value
SELECT 'US dollars a day, everything together', max(usd) FROM (
    SELECT sum(settled + reserved) AS usd FROM spent, clock WHERE at >= today - interval '13 days'
    GROUP BY date_trunc('day', at, 'UTC')) d;

-- chart.cell.value
SELECT 'US dollars a day, everything together ' || to_char(d AT TIME ZONE 'UTC', 'YYYY-MM-DD'),
    coalesce(sum(settled + reserved), 0)
FROM clock CROSS JOIN generate_series(today - interval '13 days', today, interval '1 day') d
LEFT JOIN spent ON date_trunc('day', at, 'UTC') = d GROUP BY d;

-- chart.line.value
SELECT 'US dollars a day, everything together limit', amount FROM budgets
WHERE scope = 'global' AND "window" = 'day' AND measure = 'usd';
