CREATE OR REPLACE FUNCTION pg_temp.interpolated(all_of numeric[], share numeric) RETURNS numeric LANGUAGE sql AS $$
    -- Between the two values on both sides of the place, in proportion.
    SELECT lower_one + (upper_one - lower_one) * (place - floor(place)) FROM (
        SELECT place, v[floor(place)::integer + 1] AS lower_one, v[ceil(place)::integer + 1] AS upper_one FROM (
            SELECT array_agg(x ORDER BY x) AS v, (count(*) - 1) * share AS place FROM unnest(all_of) x
            WHERE x IS NOT NULL) p) q
$$;
