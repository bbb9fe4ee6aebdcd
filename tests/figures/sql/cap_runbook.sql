-- cap.use.runs_today
SELECT runs FROM today WHERE id = %(wo)s;

-- cap.use.runs_cap
SELECT runs_cap FROM today WHERE id = %(wo)s;

-- cap.each.runs_today
SELECT id, runs FROM today WHERE status = 'draft' AND runs >= runs_cap;

-- cap.each.runs_cap
SELECT id, runs_cap FROM today WHERE status = 'draft' AND runs >= runs_cap;

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
