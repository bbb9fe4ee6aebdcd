-- bill_imports.billed_usd
SELECT i.id::text, sum(b.billed_usd) FROM bill_imports i JOIN billed_costs b
    ON to_char(b.day, 'YYYY-MM') || '.csv' = i.file_name GROUP BY 1;
