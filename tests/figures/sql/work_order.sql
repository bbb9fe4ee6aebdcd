-- meter.meter.used
SELECT 'US dollars', settled + reserved FROM today WHERE id = %(wo)s
UNION ALL SELECT 'Runs', runs FROM today WHERE id = %(wo)s;

-- meter.meter.limit
SELECT 'US dollars', usd_cap FROM today WHERE id = %(wo)s
UNION ALL SELECT 'Runs', runs_cap FROM today WHERE id = %(wo)s;

-- meter.meter.share
SELECT 'US dollars', (settled + reserved) / usd_cap FROM today WHERE id = %(wo)s
UNION ALL SELECT 'Runs', runs / runs_cap FROM today WHERE id = %(wo)s;

-- meter.meter.settled
SELECT 'US dollars', settled FROM today WHERE id = %(wo)s
UNION ALL SELECT 'Runs', runs - open FROM today WHERE id = %(wo)s;

-- meter.meter.held
SELECT 'US dollars', reserved FROM today WHERE id = %(wo)s
UNION ALL SELECT 'Runs', open FROM today WHERE id = %(wo)s;

-- work_order.usage.open_runs
SELECT count(*) FROM work_order_runs WHERE wo_id = %(wo)s AND status = 'running';

-- work_order.refusals
SELECT coalesce(sum(times), 0) FROM refused, clock WHERE wo_id = %(wo)s AND at >= today;

-- work_order.work_order.open_cap
SELECT pg_temp.cap(%(wo)s, 'max_concurrent_runs', now) FROM clock;

-- work_order.work_order.usd_cap
SELECT pg_temp.cap(%(wo)s, 'usd_per_day', now) FROM clock;

-- work_order.work_order.runs_cap
SELECT pg_temp.cap(%(wo)s, 'runs_per_day', now) FROM clock;

-- work_order.work_order.usd_per_day
SELECT usd_per_day FROM work_orders WHERE id = %(wo)s;

-- work_order.work_order.runs_per_day
SELECT runs_per_day FROM work_orders WHERE id = %(wo)s;

-- work_order.work_order.max_concurrent_runs
SELECT max_concurrent_runs FROM work_orders WHERE id = %(wo)s;

-- work_order.change.old_usd_per_day
SELECT id::text, old_usd_per_day FROM cap_changes WHERE wo_id = %(wo)s AND old_usd_per_day <> new_usd_per_day;

-- work_order.change.new_usd_per_day
SELECT id::text, new_usd_per_day FROM cap_changes WHERE wo_id = %(wo)s AND old_usd_per_day <> new_usd_per_day;

-- work_order.change.old_runs_per_day
SELECT id::text, old_runs_per_day FROM cap_changes WHERE wo_id = %(wo)s AND old_runs_per_day <> new_runs_per_day;

-- work_order.change.new_runs_per_day
SELECT id::text, new_runs_per_day FROM cap_changes WHERE wo_id = %(wo)s AND old_runs_per_day <> new_runs_per_day;

-- chart.chart.busiest.value
SELECT 'US dollars a day', max(usd) FROM (
    SELECT sum(settled + reserved) AS usd FROM spent, clock
    WHERE wo_id = %(wo)s AND at >= today - interval '29 days' GROUP BY date_trunc('day', at, 'UTC')) d;

-- chart.cell.value
SELECT 'US dollars a day ' || to_char(d AT TIME ZONE 'UTC', 'YYYY-MM-DD'), coalesce(sum(settled + reserved), 0)
FROM clock CROSS JOIN generate_series(today - interval '29 days', today, interval '1 day') d
LEFT JOIN spent ON date_trunc('day', at, 'UTC') = d AND wo_id = %(wo)s GROUP BY d;

-- chart.line.value
SELECT 'US dollars a day cap', usd_cap FROM today WHERE id = %(wo)s;

-- calibration.calibration.settled_runs
SELECT count(*) FROM reported;

-- calibration.calibration.priced_runs
SELECT count(*) FROM reported WHERE ratio IS NOT NULL;

-- calibration.calibration.ratio_p50
SELECT pg_temp.interpolated(array_agg(ratio), 0.5) FROM reported;

-- calibration.calibration.ratio_p95
SELECT pg_temp.interpolated(array_agg(ratio), 0.95) FROM reported;

-- calibration.calibration.overruns
SELECT count(*) FROM reported WHERE cost > reserved_usd;

-- calibration.calibration.overrun_usd
SELECT coalesce(sum(cost - reserved_usd), 0) FROM reported WHERE cost > reserved_usd;

-- exact.amount
SELECT r.id || ' ' || m.name, CASE m.name WHEN 'cost' THEN r.cost ELSE r.reserved_usd END
FROM (SELECT * FROM work_order_runs WHERE wo_id = %(wo)s ORDER BY started_at DESC LIMIT 10) r,
    (VALUES ('cost'), ('reserved')) m (name);
