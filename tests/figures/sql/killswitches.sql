-- killswitch_board.stops.runs
SELECT count(*) FROM work_order_runs, clock WHERE started_at > now - interval '24 hours';

-- killswitch_board.stops.running
SELECT count(*) FROM work_order_runs, clock WHERE status = 'running' AND started_at > now - interval '24 hours';
