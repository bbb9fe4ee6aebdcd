-- Runs that reported their end: the last 1,000 that succeeded or failed, and those cancelled since the first of
-- them started. Cost over reservation where the cost is known.
CREATE OR REPLACE TEMP VIEW reported AS
WITH settled AS (
    SELECT * FROM work_order_runs WHERE wo_id = %(wo)s AND status IN ('success', 'error')
    ORDER BY finished_at DESC LIMIT 1000)
SELECT id, cost, reserved_usd, CASE WHEN cost_note <> 'unpriced' AND reserved_usd > 0 THEN cost / reserved_usd END
    AS ratio FROM settled
UNION ALL
SELECT id, cost, reserved_usd, NULL FROM work_order_runs WHERE wo_id = %(wo)s AND status = 'cancelled'
    AND started_at >= (SELECT min(started_at) FROM settled);

-- The runs of the last 30 days, today among them.
CREATE OR REPLACE TEMP VIEW month_runs AS
SELECT r.* FROM work_order_runs r, clock WHERE r.wo_id = %(wo)s AND r.started_at >= today - interval '29 days';

-- Those that evidence samples: settled in that time, their cost known. (It reads the last 5,000.)
CREATE OR REPLACE TEMP VIEW sampled AS
SELECT * FROM (
    SELECT r.* FROM work_order_runs r, clock WHERE r.wo_id = %(wo)s AND r.status IN ('success', 'error')
        AND r.finished_at >= today - interval '29 days' ORDER BY r.finished_at DESC LIMIT 5000) s
WHERE cost_note <> 'unpriced';
