-- cap.use.used_usd_today
SELECT settled + reserved FROM today WHERE id = %(wo)s;

-- cap.use.usd_cap
SELECT usd_cap FROM today WHERE id = %(wo)s;

-- cap.each.used_usd_today
SELECT id, settled + reserved FROM today;

-- cap.each.usd_cap
SELECT id, usd_cap FROM today;

-- usd_429.expensive_average
SELECT 0.10;

-- usd_429.expensive_run
SELECT 1.00;

-- cap.each.runs
SELECT agent_name, count(*) FROM work_order_runs, clock WHERE wo_id = %(wo)s AND started_at >= today GROUP BY 1;

-- cap.each.last_hour
SELECT agent_name, count(*) FILTER (WHERE started_at > now - interval '1 hour') FROM work_order_runs, clock
WHERE wo_id = %(wo)s AND started_at >= today GROUP BY 1;

-- cap.each.errors
SELECT agent_name, count(*) FILTER (WHERE status = 'error') FROM work_order_runs, clock
WHERE wo_id = %(wo)s AND started_at >= today GROUP BY 1;

-- cap.each.usd
SELECT agent_name, sum(settled + reserved) FROM spent, clock WHERE wo_id = %(wo)s AND at >= today GROUP BY 1;

-- cap.each.average
SELECT agent_name, avg(cost) FROM work_order_runs, clock WHERE wo_id = %(wo)s AND started_at >= today GROUP BY 1;

-- cap.each.dearest
SELECT agent_name, max(cost) FROM work_order_runs, clock WHERE wo_id = %(wo)s AND started_at >= today GROUP BY 1;
