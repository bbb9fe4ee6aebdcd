-- exact.amount
SELECT r.id || ' ' || m.name, CASE m.name WHEN 'cost' THEN r.cost ELSE r.reserved_usd END
FROM work_order_runs r, (VALUES ('cost'), ('reserved')) m (name);
