-- budget_breach.today.open_runs
SELECT count(*) FROM work_order_runs WHERE status = 'running';

-- budget_breach.today.used_usd
SELECT sum(settled + reserved) FROM spent, clock WHERE at >= today;

-- budget_breach.today.runs_usd
SELECT sum(settled + reserved) FROM spent, clock WHERE at >= today AND runs = 1;

-- budget_breach.today.runs
SELECT count(*) FROM work_order_runs, clock WHERE started_at >= today;

-- budget_breach.today.direct_usd
SELECT sum(cost_usd) FROM direct_spend, clock WHERE at >= today;

-- budget_breach.today.direct_calls
SELECT count(*) FROM direct_spend, clock WHERE at >= today;

-- budget_breach.pace.usd
SELECT sum(settled + reserved) FROM committed, clock WHERE at >= date_bin('5 seconds', now - interval '60 seconds', 'epoch');

-- budget_breach.pace.trips_at
SELECT amount FROM budgets WHERE scope = 'global' AND "window" = 'rolling_minute' AND measure = 'usd';

-- budget_breach.each.monthly_usd
SELECT dimension, monthly_usd FROM dimension_budgets WHERE monthly_usd IS NOT NULL;

-- budget_breach.each.used
SELECT b.dimension, pg_temp.month_usd(b.dimension, c.month) + CASE b.dimension WHEN 'llm_api'
    THEN (SELECT sum(reserved) FROM spent WHERE at >= c.month) ELSE 0 END
FROM dimension_budgets b, clock c WHERE b.monthly_usd IS NOT NULL;

-- budget_breach.each.share
SELECT b.dimension, (pg_temp.month_usd(b.dimension, c.month) + CASE b.dimension WHEN 'llm_api'
    THEN (SELECT sum(reserved) FROM spent WHERE at >= c.month) ELSE 0 END) / b.monthly_usd
FROM dimension_budgets b, clock c WHERE b.monthly_usd IS NOT NULL;

-- branch.branch.budget.used
SELECT b.dimension, pg_temp.month_usd(b.dimension, c.month) + CASE b.dimension WHEN 'llm_api'
    THEN (SELECT sum(reserved) FROM spent WHERE at >= c.month) ELSE 0 END
FROM dimension_budgets b, clock c WHERE b.dimension IN ('llm_api', 'logging', 'compute', 'storage');

-- branch.branch.budget.monthly_usd
SELECT dimension, monthly_usd FROM dimension_budgets WHERE monthly_usd IS NOT NULL;

-- limits.each.used
SELECT id::text, settled + held FROM most_used WHERE amount IS NOT NULL AND measure = 'usd' AND scope <> 'work_order';

-- limits.each.limit.amount
SELECT id::text, amount FROM budgets WHERE amount IS NOT NULL AND measure = 'usd' AND scope <> 'work_order';

-- limits.each.share
SELECT id::text, (settled + held) / amount FROM most_used WHERE amount IS NOT NULL AND measure = 'usd' AND scope <> 'work_order';
