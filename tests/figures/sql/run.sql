-- run.run.cost
SELECT cost FROM work_order_runs WHERE id = %(run)s;

-- run.run.reserved_usd
SELECT reserved_usd FROM work_order_runs WHERE id = %(run)s;

-- run.overrun
SELECT cost - reserved_usd FROM work_order_runs WHERE id = %(run)s;
