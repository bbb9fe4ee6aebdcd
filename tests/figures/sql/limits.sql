-- meter.meter.used
SELECT id::text, settled + held FROM most_used WHERE amount IS NOT NULL AND scope <> 'work_order';

-- meter.meter.limit
SELECT id::text, amount FROM budgets WHERE amount IS NOT NULL AND scope <> 'work_order';

-- limits.used
SELECT id::text, settled + held FROM most_used WHERE amount IS NULL AND scope <> 'work_order';
