-- production_run.today.open_runs
SELECT count(*) FROM work_order_runs WHERE status = 'running';

-- limits.each.used
SELECT id::text, settled + held FROM most_used WHERE amount IS NOT NULL AND scope IN ('global', 'model_tier');

-- limits.each.limit.amount
SELECT id::text, amount FROM budgets WHERE amount IS NOT NULL AND scope IN ('global', 'model_tier');

-- limits.each.share
SELECT id::text, (settled + held) / amount FROM most_used WHERE amount IS NOT NULL AND scope IN ('global', 'model_tier');
