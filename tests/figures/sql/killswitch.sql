-- killswitch.stops.runs
SELECT count(*) FROM work_order_runs, clock WHERE agent_name = 'edge-open' AND started_at > now - interval '24 hours';

-- killswitch.stops.running
SELECT count(*) FROM work_order_runs, clock
WHERE agent_name = 'edge-open' AND status = 'running' AND started_at > now - interval '24 hours';
