-- dimension_budget.figure.usd
SELECT to_char(m AT TIME ZONE 'UTC', 'YYYY-MM'), pg_temp.month_usd('llm_api', m)
FROM clock c CROSS JOIN generate_series(c.month - interval '5 months', c.month, interval '1 month') m;

-- dimension_budget.now.governed
SELECT sum(settled) FROM spent, clock WHERE at >= month;

-- dimension_budget.now.ungoverned
SELECT sum(usd) FROM calls c, clock WHERE c.hour >= month AND NOT governed;

-- meter.meter.used
SELECT 'This month, UTC', pg_temp.month_usd('llm_api', month) + (SELECT sum(reserved) FROM spent WHERE at >= c.month)
FROM clock c;

-- meter.meter.settled
SELECT 'This month, UTC', pg_temp.month_usd('llm_api', month) FROM clock;

-- meter.meter.held
SELECT 'This month, UTC', sum(reserved) FROM spent, clock WHERE at >= month;

-- meter.meter.limit
SELECT 'This month, UTC', monthly_usd FROM dimension_budgets WHERE dimension = 'llm_api';

-- meter.meter.share
SELECT 'This month, UTC', (pg_temp.month_usd('llm_api', month) + (SELECT sum(reserved) FROM spent WHERE at >= c.month))
    / (SELECT monthly_usd FROM dimension_budgets WHERE dimension = 'llm_api') FROM clock c;
