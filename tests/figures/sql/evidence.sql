-- evidence.evidence.today.usd
SELECT coalesce(sum(settled + reserved), 0) FROM spent, clock WHERE wo_id = %(wo)s AND at >= today;

-- evidence.evidence.today.runs
SELECT count(*) FROM work_order_runs, clock WHERE wo_id = %(wo)s AND started_at >= today;

-- evidence.evidence.costs.runs
SELECT count(*) FROM month_runs;

-- evidence.evidence.costs.ended
SELECT count(*) FROM month_runs WHERE finished_at IS NOT NULL;

-- evidence.evidence.costs.errors
SELECT count(*) FROM month_runs WHERE status = 'error';

-- evidence.evidence.costs.error_rate
SELECT round(count(*) FILTER (WHERE status = 'error')::numeric / count(*), 12) FROM month_runs WHERE finished_at IS NOT NULL;

-- evidence.evidence.costs.average_usd
SELECT round(sum(cost) / count(*), 9) FROM month_runs WHERE finished_at IS NOT NULL;

-- evidence.evidence.costs.max_usd
SELECT max(cost) FROM month_runs WHERE finished_at IS NOT NULL;

-- evidence.evidence.costs.p95_usd
SELECT round(pg_temp.interpolated(array_agg(cost), 0.95), 9) FROM sampled;

-- evidence.evidence.calibration.sampled
SELECT count(*) FROM sampled;

-- evidence.evidence.calibration.ratio
SELECT sum(cost) / sum(reserved_usd) FROM sampled;

-- evidence.evidence.calibration.ratio_p95
SELECT pg_temp.interpolated(array_agg(cost / nullif(reserved_usd, 0)), 0.95) FROM sampled;

-- evidence.evidence.calibration.overruns
SELECT count(*) FROM month_runs WHERE status IN ('success', 'error', 'cancelled') AND cost > reserved_usd;

-- evidence.evidence.calibration.overrun_usd
SELECT coalesce(sum(cost - reserved_usd), 0) FROM month_runs
WHERE status IN ('success', 'error', 'cancelled') AND cost > reserved_usd;

-- evidence.agent.runs
SELECT agent_name, count(*) FROM month_runs GROUP BY 1;

-- evidence.agent.errors
SELECT agent_name, count(*) FILTER (WHERE status = 'error') FROM month_runs GROUP BY 1;

-- evidence.agent.unknown_runs
SELECT agent_name, count(*) FROM month_runs WHERE NOT agent_known GROUP BY 1;

-- evidence.agent.usd
SELECT agent_name, coalesce(sum(cost), 0) FROM month_runs GROUP BY 1;

-- evidence.change.effective
SELECT pg_temp.cap(%(wo)s, 'usd_per_day', now) FROM clock;

-- chart.cell.value
SELECT m.name || ' ' || to_char(d AT TIME ZONE 'UTC', 'YYYY-MM-DD'), CASE m.name
    WHEN 'US dollars a day' THEN (SELECT coalesce(sum(settled + reserved), 0) FROM spent
        WHERE wo_id = %(wo)s AND date_trunc('day', at, 'UTC') = d)
    WHEN 'Runs a day' THEN (SELECT count(*) FROM spent WHERE wo_id = %(wo)s AND date_trunc('day', at, 'UTC') = d)
    ELSE (SELECT coalesce(sum(times), 0) FROM refused WHERE wo_id = %(wo)s AND date_trunc('day', at, 'UTC') = d) END
FROM clock CROSS JOIN generate_series(today - interval '29 days', today, interval '1 day') d,
    (VALUES ('US dollars a day'), ('Runs a day'), ('Refusals')) m (name);

-- chart.chart.busiest.value
SELECT name, max(n) FROM (
    SELECT 'US dollars a day' AS name, sum(settled + reserved) AS n, date_trunc('day', at, 'UTC') FROM spent, clock
    WHERE wo_id = %(wo)s AND at >= today - interval '29 days' GROUP BY 3
    UNION ALL
    SELECT 'Runs a day', count(*), date_trunc('day', at, 'UTC') FROM spent, clock
    WHERE wo_id = %(wo)s AND at >= today - interval '29 days' GROUP BY 3
    UNION ALL
    SELECT 'Refusals', sum(times), date_trunc('day', at, 'UTC') FROM refused, clock
    WHERE wo_id = %(wo)s AND at >= today - interval '29 days' GROUP BY 3) d GROUP BY 1;

-- chart.line.value
SELECT 'US dollars a day cap now', usd_per_day FROM work_orders WHERE id = %(wo)s
UNION ALL SELECT 'US dollars a day asked for', 8
UNION ALL SELECT 'Runs a day cap now', runs_per_day FROM work_orders WHERE id = %(wo)s;

-- change_request.line.old
SELECT '', old FROM change_lines l JOIN change_requests r ON r.id = l.request_id
WHERE r.subject_id = %(wo)s AND r.status = 'pending';

-- change_request.line.new
SELECT '', new FROM change_lines l JOIN change_requests r ON r.id = l.request_id
WHERE r.subject_id = %(wo)s AND r.status = 'pending';
