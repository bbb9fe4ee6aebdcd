-- What each kind of bill cost in a month. Models: what runs and direct spend settled, and the telemetry of calls
-- that never asked. All else: bills, by the mapping of the service, or else of its category.
CREATE OR REPLACE FUNCTION pg_temp.month_usd(kind text, first timestamptz) RETURNS numeric LANGUAGE sql AS $$
    SELECT CASE kind WHEN 'llm_api' THEN
        coalesce((SELECT sum(settled) FROM pg_temp.spent WHERE at >= first AND at < first + interval '1 month'), 0)
        + coalesce((SELECT sum(usd) FROM pg_temp.calls WHERE NOT governed AND hour >= first
            AND hour < first + interval '1 month'), 0)
    ELSE coalesce((SELECT sum(b.billed_usd) FROM public.billed_costs b
        WHERE b.day >= (first AT TIME ZONE 'UTC')::date AND b.day < (first AT TIME ZONE 'UTC')::date + interval '1 month'
            AND kind = coalesce(
                (SELECT m.dimension FROM public.service_mappings m WHERE m.service_category = b.service_category
                    AND m.service_name = b.service_name AND b.service_name <> ''),
                (SELECT m.dimension FROM public.service_mappings m WHERE m.service_category = b.service_category
                    AND m.service_name = ''), '')), 0) END
$$;
