-- dimension_budgets.usd
SELECT dimension, pg_temp.month_usd(dimension, month) FROM dimension_budgets, clock WHERE monthly_usd IS NULL;

-- meter.meter.used
SELECT b.dimension, pg_temp.month_usd(b.dimension, c.month) + CASE b.dimension WHEN 'llm_api'
    THEN (SELECT sum(reserved) FROM spent WHERE at >= c.month) ELSE 0 END
FROM dimension_budgets b, clock c WHERE b.monthly_usd IS NOT NULL;

-- meter.meter.limit
SELECT dimension, monthly_usd FROM dimension_budgets WHERE monthly_usd IS NOT NULL;

-- dimension_budgets_note.usd
SELECT b.service_category || ': ' || b.service_name, sum(b.billed_usd) FROM billed_costs b, clock c
WHERE b.day >= (c.month AT TIME ZONE 'UTC')::date AND NOT EXISTS (SELECT FROM service_mappings m
    WHERE m.service_category = b.service_category AND m.service_name IN ('', b.service_name)) GROUP BY 1;
