-- Stores reported calls: one statement a batch. Returns the event ids that were known already.

-- The unique index stops the same event at the same time. A copy whose time was reported otherwise, or not
-- at all, is found by its id near that time; two that come at once are kept apart by locks on shares
-- of all ids (of 64, by a checksum that the caller computes), which are held until the commit. They
-- are taken in order, so that batches wait for each other and never deadlock.
CREATE OR REPLACE FUNCTION tollgate.lock_event_ids(p_class integer, p_shares integer[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    share integer;
BEGIN
    FOR share IN SELECT DISTINCT unnest(p_shares) AS s ORDER BY s LOOP
        PERFORM pg_advisory_xact_lock(p_class, share);
    END LOOP;
END $$;

-- `p_since` and `p_until`: between these times an event of the same id and sender is the same event; so is
-- one that Tollgate wrote itself (sender 0), whose ids are those of runs.
CREATE OR REPLACE FUNCTION tollgate.accept_inference_v1(
    p_rows json, p_shares integer[], p_since timestamptz, p_until timestamptz, p_source text,
    p_sender bigint
) RETURNS text[]
LANGUAGE plpgsql VOLATILE
-- A plan that was kept from when a week was empty would read the whole of it for each look-up.
SET plan_cache_mode TO force_custom_plan
SET enable_seqscan TO off SET jit TO off AS $$
DECLARE
    written text[];
    sender_wins boolean := (SELECT c.wins = 'sender' FROM public.cost_preference c);
BEGIN
    PERFORM tollgate.lock_event_ids(7301, p_shares);
    WITH inserted AS (
        INSERT INTO public.inference_events (event_id, created_at, source, sender_id, user_id, feature, model,
            sent_model, trigger_type, input_tokens, cached_input_tokens, cache_write_tokens, cache_write_1h_tokens,
            output_tokens, reasoning_tokens, units, service_tier, cost_usd, sender_cost_usd, computed_cost_usd,
            success, run_id, wo_id, agent_name, session_id, surface, user_agent)
        SELECT r.event_id, r.created_at, p_source, p_sender, coalesce(r.user_id, ''), coalesce(r.feature, ''),
            r.model, coalesce(r.sent_model, ''), coalesce(nullif(r.trigger_type, ''), 'user_request'), r.input_tokens,
            coalesce(r.cached_input_tokens, 0), coalesce(r.cache_write_tokens, 0), coalesce(r.cache_write_1h_tokens, 0),
            r.output_tokens, coalesce(r.reasoning_tokens, 0), coalesce(r.units, '{}'), coalesce(r.service_tier, ''),
            coalesce(r.cost_usd, CASE WHEN sender_wins THEN r.sender_cost_usd END, r.computed_cost_usd,
                r.sender_cost_usd),
            r.sender_cost_usd, CASE WHEN r.sender_cost_usd IS NOT NULL THEN r.computed_cost_usd END,
            coalesce(r.success, true), r.run_id,
            coalesce(r.wo_id, ''), coalesce(r.agent_name, ''), coalesce(r.session_id, ''),
            coalesce(r.surface, ''), coalesce(r.user_agent, '')
        FROM json_to_recordset(p_rows) AS r (event_id text, created_at timestamptz, user_id text,
            feature text, model text, sent_model text, trigger_type text, input_tokens bigint,
            cached_input_tokens bigint, cache_write_tokens bigint, cache_write_1h_tokens bigint, output_tokens bigint,
            reasoning_tokens bigint, units jsonb, service_tier text, cost_usd numeric, sender_cost_usd numeric,
            computed_cost_usd numeric, success boolean, run_id uuid, wo_id text,
            agent_name text, session_id text, surface text, user_agent text)
        -- A look-up for each row in the index; a join might read all four days instead.
        WHERE (SELECT true FROM public.inference_events e WHERE e.event_id = r.event_id
            AND e.sender_id IN (0, p_sender) AND e.created_at >= p_since AND e.created_at <= p_until LIMIT 1) IS NULL
        ON CONFLICT DO NOTHING
        RETURNING event_id)
    SELECT array_agg(event_id) INTO written FROM inserted;
    RETURN ARRAY(SELECT r.event_id FROM json_to_recordset(p_rows) AS r (event_id text)
        WHERE cardinality(written) IS DISTINCT FROM json_array_length(p_rows)
        EXCEPT SELECT unnest(written));
END $$;

-- The usage of a finished run, or of direct spend (its `source`: run or spend). `usage` is as the API has
-- it (`opslog.pricing.usage.Usage.body`).
CREATE TYPE tollgate.used AS (
    id uuid, source text, at timestamptz, usage jsonb, cost numeric, success boolean, run uuid, wo text,
    agent text, user_id text, surface text, feature text
);

-- Usage as telemetry: once, under the id of the run or the spend.
CREATE OR REPLACE FUNCTION tollgate.record_usage(p_used tollgate.used[]) RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO public.inference_events (event_id, created_at, source, run_id, wo_id, agent_name, user_id,
        surface, feature, model, sent_model, input_tokens, cached_input_tokens, cache_write_tokens,
        cache_write_1h_tokens, output_tokens, reasoning_tokens, units, service_tier, cost_usd, success)
    SELECT u.id::text, u.at, u.source, u.run, u.wo, u.agent, u.user_id, u.surface, u.feature,
        u.usage->>'model', coalesce(u.usage->>'sentModel', ''), (u.usage->>'inputTokens')::bigint,
        coalesce((u.usage->>'cachedInputTokens')::bigint, 0), coalesce((u.usage->>'cacheWriteTokens')::bigint, 0),
        coalesce((u.usage->>'cacheWrite1hTokens')::bigint, 0), (u.usage->>'outputTokens')::bigint,
        coalesce((u.usage->>'reasoningTokens')::bigint, 0),
        u.usage - '{model,sentModel,provider,inputTokens,cachedInputTokens,cacheWriteTokens,cacheWrite1hTokens,outputTokens,reasoningTokens,serviceTier}'::text[],
        coalesce(u.usage->>'serviceTier', ''), u.cost, u.success
    FROM unnest(p_used) u
    ON CONFLICT DO NOTHING
$$;

CREATE OR REPLACE FUNCTION tollgate.accept_tools_v1(
    p_rows json, p_shares integer[], p_since timestamptz, p_until timestamptz, p_sender bigint
) RETURNS text[]
LANGUAGE plpgsql VOLATILE
-- A plan that was kept from when a week was empty would read the whole of it for each look-up.
SET plan_cache_mode TO force_custom_plan
SET enable_seqscan TO off SET jit TO off AS $$
DECLARE
    written text[];
BEGIN
    PERFORM tollgate.lock_event_ids(7302, p_shares);
    WITH inserted AS (
        INSERT INTO public.tool_calls (event_id, created_at, sender_id, tool_name, success, retries, duration_ms,
            inference_event_id, run_id, wo_id, user_id, feature, agent_name, session_id)
        SELECT r.event_id, r.created_at, p_sender, r.tool_name, coalesce(r.success, true),
            coalesce(r.retries, 0), r.duration_ms, coalesce(r.inference_event_id, ''), r.run_id,
            coalesce(r.wo_id, ''), coalesce(r.user_id, ''), coalesce(r.feature, ''),
            coalesce(r.agent_name, ''), coalesce(r.session_id, '')
        FROM json_to_recordset(p_rows) AS r (event_id text, created_at timestamptz, tool_name text,
            success boolean, retries integer, duration_ms bigint, inference_event_id text,
            run_id uuid, wo_id text, user_id text, feature text, agent_name text, session_id text)
        WHERE (SELECT true FROM public.tool_calls e WHERE e.event_id = r.event_id
            AND e.sender_id IN (0, p_sender) AND e.created_at >= p_since AND e.created_at <= p_until LIMIT 1) IS NULL
        ON CONFLICT DO NOTHING
        RETURNING event_id)
    SELECT array_agg(event_id) INTO written FROM inserted;
    RETURN ARRAY(SELECT r.event_id FROM json_to_recordset(p_rows) AS r (event_id text)
        WHERE cardinality(written) IS DISTINCT FROM json_array_length(p_rows)
        EXCEPT SELECT unnest(written));
END $$;

-- Takes calls of models back that a later export showed to be none: deletes their events, and lets their
-- hours be summed up again. Returns how many. `p_since`: none of them is older.
CREATE OR REPLACE FUNCTION tollgate.take_back_inference_v1(
    p_sender bigint, p_event_ids text[], p_since timestamptz
) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode TO force_custom_plan
SET enable_seqscan TO off SET jit TO off AS $$
DECLARE
    hours timestamptz[];
    taken integer;
BEGIN
    WITH gone AS (
        DELETE FROM public.inference_events e WHERE e.event_id = ANY (p_event_ids) AND e.sender_id = p_sender
            AND e.created_at >= p_since
        RETURNING date_trunc('hour', e.created_at, 'UTC') AS hour)
    SELECT array_agg(DISTINCT hour), count(*) INTO hours, taken FROM gone;
    INSERT INTO public.stale_hours (hour) SELECT unnest(hours);
    DELETE FROM public.telemetry_responses r WHERE r.sender_id = p_sender AND r.event_id = ANY (p_event_ids);
    RETURN taken;
END $$;
