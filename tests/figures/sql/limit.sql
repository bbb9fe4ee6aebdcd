-- meter.meter.used
SELECT 'Used now', settled + held FROM most_used WHERE id = %(limit)s;

-- meter.meter.settled
SELECT 'Used now', settled FROM most_used WHERE id = %(limit)s;

-- meter.meter.held
SELECT 'Used now', held FROM most_used WHERE id = %(limit)s;

-- meter.meter.limit
SELECT 'Used now', amount FROM budgets WHERE id = %(limit)s;

-- meter.meter.share
SELECT 'Used now', (settled + held) / amount FROM most_used WHERE id = %(limit)s;
