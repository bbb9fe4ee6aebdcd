-- monthly_review.row.usd
SELECT dimension, pg_temp.month_usd(dimension, month - interval '1 month') FROM dimension_budgets, clock;

-- monthly_review.row.last
SELECT dimension, pg_temp.month_usd(dimension, month - interval '2 months') FROM dimension_budgets, clock;

-- monthly_review.row.change
SELECT dimension, pg_temp.month_usd(dimension, month - interval '1 month')
    / nullif(pg_temp.month_usd(dimension, month - interval '2 months'), 0) - 1 FROM dimension_budgets, clock;

-- monthly_review.row.budget
SELECT dimension, monthly_usd FROM dimension_budgets WHERE monthly_usd IS NOT NULL;

-- monthly_review.row.share
SELECT dimension, pg_temp.month_usd(dimension, month - interval '1 month') / monthly_usd
FROM dimension_budgets, clock WHERE monthly_usd IS NOT NULL;

-- monthly_review.row.governed
SELECT 'llm_api', sum(settled) FROM spent, clock WHERE at >= month - interval '1 month' AND at < month;

-- monthly_review.row.ungoverned
SELECT 'llm_api', sum(usd) FROM calls c, clock
WHERE NOT governed AND c.hour >= month - interval '1 month' AND c.hour < month;

-- monthly_review.figures.unmapped_usd
SELECT pg_temp.month_usd('', month - interval '1 month') FROM clock;

-- monthly_review.usd
SELECT pg_temp.month_usd('', month - interval '1 month') FROM clock;

-- monthly_review.figures.total
SELECT sum(pg_temp.month_usd(kind, month - interval '1 month'))
FROM clock, (SELECT dimension AS kind FROM dimension_budgets UNION SELECT '') k;

-- monthly_review.figures.last
SELECT sum(pg_temp.month_usd(kind, month - interval '2 months'))
FROM clock, (SELECT dimension AS kind FROM dimension_budgets UNION SELECT '') k;

-- monthly_review.figures.budget
SELECT sum(monthly_usd) FROM dimension_budgets;

-- monthly_review.figures.change
SELECT sum(pg_temp.month_usd(kind, month - interval '1 month'))
    / sum(pg_temp.month_usd(kind, month - interval '2 months')) - 1
FROM clock, (SELECT dimension AS kind FROM dimension_budgets UNION SELECT '') k;

-- monthly_review.row.billed
SELECT 'llm_api', sum(b.billed_usd) FROM billed_costs b, clock
WHERE b.service_category = 'AI and Machine Learning' AND b.day = ((month - interval '1 month') AT TIME ZONE 'UTC')::date;
