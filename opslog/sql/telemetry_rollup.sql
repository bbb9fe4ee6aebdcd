-- Sums of an hour, computed from its events. See opslog/telemetry/rollup.py. Statements are planned
-- anew for each hour: one that was planned when a week was empty would read the whole of it later.

CREATE OR REPLACE FUNCTION tollgate.histogram_step(counts bigint[], bucket integer, n bigint) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    counts[bucket + 1] := counts[bucket + 1] + n;
    RETURN counts;
END $$;
CREATE OR REPLACE AGGREGATE tollgate.histogram(bucket integer, n bigint) (
    SFUNC = tollgate.histogram_step, STYPE = bigint[],
    INITCOND = '{0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}'
);

-- In which of the 24 buckets a number of tokens is: how many binary digits it has.
CREATE OR REPLACE FUNCTION tollgate.token_bucket(tokens bigint) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT width_bucket(tokens, '{1,2,4,8,16,32,64,128,256,512,1024,2048,4096,8192,16384,32768,65536,131072,262144,524288,1048576,2097152,4194304}'::bigint[])
$$;

-- Whether what the sender of a call says and what the price book computes are more than 5 % apart.
CREATE OR REPLACE FUNCTION tollgate.costs_differ(sender numeric, computed numeric) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(abs(sender - computed) > 0.05 * greatest(sender, computed), false)
$$;

CREATE OR REPLACE FUNCTION tollgate.sum_up_inference(p_hour timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode TO force_custom_plan AS $$
BEGIN
    DELETE FROM public.inference_hours WHERE hour = p_hour;
    -- One pass over the events; what follows works on its few groups.
    WITH groups AS MATERIALIZED (
        SELECT feature, model, trigger_type,
            tollgate.token_bucket(input_tokens) AS input_bucket,
            tollgate.token_bucket(output_tokens) AS output_bucket,
            count(*) AS requests,
            count(*) FILTER (WHERE NOT success) AS failed,
            count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced,
            count(*) FILTER (WHERE tollgate.costs_differ(sender_cost_usd, computed_cost_usd)) AS differing,
            sum(input_tokens) AS input_tokens,
            sum(cached_input_tokens) AS cached_input_tokens,
            sum(cache_write_tokens) AS cache_write_tokens,
            sum(cache_write_1h_tokens) AS cache_write_1h_tokens,
            sum(output_tokens) AS output_tokens,
            sum(reasoning_tokens) AS reasoning_tokens,
            coalesce(sum(cost_usd), 0) AS cost_usd,
            coalesce(sum(cost_usd) FILTER (
                WHERE run_id IS NOT NULL OR wo_id <> '' OR source IN ('run', 'spend')), 0) AS governed_usd,
            sum(input_tokens::float8 * input_tokens) AS input_squares,
            sum(output_tokens::float8 * output_tokens) AS output_squares,
            coalesce(sum(cost_usd::float8 * cost_usd::float8), 0) AS cost_squares
        FROM public.inference_events
        WHERE created_at >= p_hour AND created_at < p_hour + interval '1 hour'
        GROUP BY 1, 2, 3, 4, 5
    ), people AS (
        SELECT feature, model, trigger_type, count(*) AS users
        FROM (SELECT DISTINCT feature, model, trigger_type, user_id FROM public.inference_events
              WHERE created_at >= p_hour AND created_at < p_hour + interval '1 hour'
                AND user_id <> '') each_once
        GROUP BY 1, 2, 3
    )
    INSERT INTO public.inference_hours (hour, feature, model, trigger_type, requests, failed, unpriced, differing, users,
        input_tokens, cached_input_tokens, cache_write_tokens, cache_write_1h_tokens, output_tokens,
        reasoning_tokens, cost_usd, governed_usd, input_squares, output_squares, cost_squares, input_buckets, output_buckets)
    SELECT p_hour, g.feature, g.model, g.trigger_type, sum(g.requests), sum(g.failed),
        sum(g.unpriced), sum(g.differing), coalesce(max(p.users), 0), sum(g.input_tokens), sum(g.cached_input_tokens),
        sum(g.cache_write_tokens), sum(g.cache_write_1h_tokens), sum(g.output_tokens), sum(g.reasoning_tokens), sum(g.cost_usd), sum(g.governed_usd),
        sum(g.input_squares),
        sum(g.output_squares), sum(g.cost_squares),
        tollgate.histogram(g.input_bucket, g.requests),
        tollgate.histogram(g.output_bucket, g.requests)
    FROM groups g LEFT JOIN people p USING (feature, model, trigger_type)
    GROUP BY g.feature, g.model, g.trigger_type;
END $$;

-- A call of a tool comes up to three hours after the model call that asked for it (or, where clocks
-- differ, five minutes before it).
CREATE OR REPLACE FUNCTION tollgate.sum_up_tools(p_hour timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode TO force_custom_plan AS $$
BEGIN
    DELETE FROM public.tool_hours WHERE hour = p_hour;
    INSERT INTO public.tool_hours (hour, feature, tool_name, calls, failures, retries, retry_requests,
        retry_cost_usd, retry_hidden_requests, retry_hidden_cost_usd)
    SELECT p_hour, feature, tool_name, sum(calls), sum(failures), sum(retries), sum(retry_requests),
        sum(retry_cost_usd), sum(retry_hidden_requests), sum(retry_hidden_cost_usd)
    FROM (
        SELECT feature, tool_name, count(*) AS calls, count(*) FILTER (WHERE NOT success) AS failures,
            count(*) FILTER (WHERE retries > 0) AS retries, 0::bigint AS retry_requests,
            0::numeric AS retry_cost_usd, 0::bigint AS retry_hidden_requests,
            0::numeric AS retry_hidden_cost_usd
        FROM public.tool_calls WHERE created_at >= p_hour AND created_at < p_hour + interval '1 hour'
        GROUP BY 1, 2
        UNION ALL
        SELECT e.feature, again.tool_name, 0, 0, 0, count(*), coalesce(sum(e.cost_usd), 0),
            count(*) FILTER (WHERE e.hidden), coalesce(sum(e.cost_usd) FILTER (WHERE e.hidden), 0)
        FROM (SELECT DISTINCT tool_name, inference_event_id, sender_id FROM public.tool_calls
              WHERE created_at >= p_hour - interval '5 minutes' AND created_at < p_hour + interval '4 hours'
                AND retries > 0 AND inference_event_id <> '') again
        JOIN (SELECT event_id, sender_id, feature, cost_usd,
                  trigger_type IN ('undo', 'retry', 'auto_save') AS hidden
              FROM public.inference_events
              WHERE created_at >= p_hour AND created_at < p_hour + interval '1 hour') e
            ON e.event_id = again.inference_event_id AND e.sender_id IN (0, again.sender_id)
        GROUP BY 1, 2
    ) parts
    GROUP BY feature, tool_name;
END $$;

-- Sums up the stale hours with a note up to `p_upto`, `p_most` of them, the newest first; gives how
-- many. One at a time, by a lock: whoever comes second finds less to do. The notes are deleted in a
-- statement before the sums, so the sums hold whatever the deleted notes stood for; a batch that
-- commits later leaves its own note behind.
CREATE OR REPLACE FUNCTION tollgate.refresh_hours_v1(p_upto bigint, p_most integer) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode TO force_custom_plan AS $$
DECLARE
    hours timestamptz[];
    each timestamptz;
    more timestamptz[];
BEGIN
    PERFORM pg_advisory_xact_lock(7303, 0);
    hours := ARRAY(SELECT DISTINCT hour FROM public.stale_hours WHERE id <= p_upto ORDER BY hour DESC LIMIT p_most);
    DELETE FROM public.stale_hours WHERE hour = ANY (hours);
    FOREACH each IN ARRAY hours LOOP
        -- What trying again cost belongs to the hour of the model call, which may be an earlier one.
        more := more || ARRAY(
            SELECT DISTINCT date_trunc('hour', e.created_at, 'UTC')
            FROM public.tool_calls t JOIN public.inference_events e ON e.event_id = t.inference_event_id
                AND e.sender_id IN (0, t.sender_id)
            WHERE t.created_at >= each AND t.created_at < each + interval '1 hour' AND t.retries > 0
                AND t.inference_event_id <> ''
                AND e.created_at >= each - interval '3 hours' AND e.created_at < each);
        PERFORM tollgate.sum_up_inference(each);
        PERFORM tollgate.sum_up_tools(each);
    END LOOP;
    FOR each IN SELECT DISTINCT m FROM unnest(more) m WHERE NOT m = ANY (hours) LOOP
        PERFORM tollgate.sum_up_tools(each);
    END LOOP;
    RETURN cardinality(hours);
END $$;
