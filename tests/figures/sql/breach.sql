-- budget_breach.today.open_runs
SELECT count(*) FROM work_order_runs WHERE status = 'running';

-- budget_breach.today.used_usd
SELECT sum(settled + reserved) FROM spent, clock WHERE at >= today;

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
