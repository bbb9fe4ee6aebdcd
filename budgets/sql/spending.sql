-- Calls that a program makes by itself: advice before, spend reported after. No work order is involved.

-- The day's money of all: what is settled, without `p_later`, what is reserved, and the limits that are held.
CREATE OR REPLACE FUNCTION tollgate.day_figures_v1(p_at timestamptz, p_later numeric DEFAULT 0) RETURNS json
LANGUAGE sql STABLE AS $$
    SELECT json_build_object('date', (p_at AT TIME ZONE 'UTC')::date,
        'spentUsd', (coalesce(k.settled_usd, 0) - p_later)::text, 'reservedUsd', coalesce(k.reserved_usd, 0)::text,
        'warningUsd', b.warning_amount::text, 'limitUsd', b.amount::text)
    FROM (VALUES (1)) one
    LEFT JOIN public.budgets b ON b.scope = 'global' AND b."window" = 'day' AND b.measure = 'usd'
    LEFT JOIN public.counters k ON k.key
        = tollgate.counter_key('global', '', 'day', tollgate.begins('day', p_at))
$$;

-- What a call is about; what its token pins wins.
CREATE OR REPLACE FUNCTION tollgate.facts_of_call(
    b tollgate.bearer, agent text, user_id text, surface text, feature text, model text, address inet
) RETURNS tollgate.facts LANGUAGE sql IMMUTABLE AS $$
    SELECT tollgate.call_facts(agent, user_id, coalesce(nullif(b.surface, ''), surface),
        coalesce(nullif(b.feature, ''), feature), model, address)
$$;

-- The event of a call that was recorded.
CREATE OR REPLACE FUNCTION tollgate.spend_event(
    d public.direct_spend, p_actor text, p_token_name text, p_request_id text
) RETURNS tollgate.event LANGUAGE sql STABLE AS $$
    SELECT row('LLM_SPEND', format('$%s spent%s', tollgate.usd(d.cost_usd), coalesce(' on ' || nullif(d.model, ''), '')),
        'direct_spend', d.id::text, '', p_actor,
        jsonb_build_object('spendId', d.id, 'costUsd', tollgate.usd(d.cost_usd), 'tokens', d.tokens,
            'model', nullif(d.model, ''), 'userId', nullif(d.user_id, ''), 'surface', nullif(d.surface, ''),
            'feature', nullif(d.feature, ''), 'sourceIp', host(d.source_ip), 'tokenName', p_token_name),
        p_request_id)::tollgate.event
$$;

-- Advice: the answer to an ask like this by everything that is shared. Nothing is written,
-- nothing is reserved.
CREATE OR REPLACE FUNCTION tollgate.check_run_v1(
    p_digest bytea, p_address inet, p_estimate numeric, p_tokens bigint, p_priced boolean,
    p_book_version bigint, p_model text, p_user text, p_surface text, p_feature text, p_agent text
) RETURNS tollgate.answer LANGUAGE plpgsql VOLATILE
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET jit TO off AS $$
DECLARE
    b tollgate.bearer;
    refusal tollgate.answer;
    at constant timestamptz := tollgate.now();
    facts tollgate.facts;
    killed public.kill_switches;
    tripped public.circuit_breakers;
    way tollgate.charge;
    check_name tollgate.start_check;
BEGIN
    SELECT * INTO b FROM tollgate.bearer_v1(p_digest, p_address, '{start}', '*');
    IF b.refusal <> '' THEN
        RETURN tollgate.token_refusal(b.refusal);
    END IF;
    IF b.use_due THEN
        PERFORM tollgate.note_token_use_v1(b.token_id, p_address);
    END IF;
    IF tollgate.is_stale(p_book_version) THEN
        RETURN tollgate.stale_prices();
    END IF;
    facts := tollgate.facts_of_call(b, p_agent, p_user, p_surface, p_feature, p_model, p_address);
    killed := tollgate.kill_switch(tollgate.subject('surface', facts), p_user, p_agent, b.lineage);
    tripped := (tollgate.open_breakers(''))[1];
    SELECT c.* INTO way FROM tollgate.charges(facts, at, true) c
    WHERE c.win <> 'open' AND tollgate.refuses(c, coalesce(p_estimate, 0), coalesce(p_tokens, 0), false)
    ORDER BY c.check_name, c.budget_id LIMIT 1;
    check_name := least(
        tollgate.first_refusal(false, false, 'draft', killed.id IS NOT NULL, tripped.id IS NOT NULL,
            (SELECT NOT f.enabled FROM public.feature_flags f WHERE f.feature = facts.feature), false,
            way.check_name IS NULL AND p_estimate IS NULL AND NOT p_priced, false), way.check_name);
    refusal := CASE
        WHEN check_name = 'kill_switch' THEN tollgate.killed(killed)
        WHEN check_name = 'breaker_open' THEN tollgate.check_refusal(check_name, NULL,
            least(tollgate.seconds_until(tripped.half_open_at, at), tripped.open_seconds),
            least(tripped.half_open_at, at + make_interval(secs => tripped.open_seconds)))
        WHEN check_name = 'breaker_minute' THEN
            tollgate.refusal(503, 'breaker_open', 'the circuit breaker would open')
        WHEN check_name = way.check_name THEN tollgate.limit_refusal(way, at, NULL, tollgate.cured_at(way, at))
        ELSE tollgate.check_refusal(check_name, facts.feature) END;
    RETURN tollgate.granted(200, json_build_object('allowed', check_name = 'none', 'denial', refusal.denial,
        'reason', refusal.error, 'retryAfterSeconds', refusal.retry_after,
        'resetAt', tollgate.rfc3339(refusal.reset_at), 'estimatedUsd', tollgate.usd(p_estimate),
        'day', tollgate.day_figures_v1(at))::text, NULL, NULL, false);
END $$;

-- What a call cost. It was spent: recorded over any limit, once for each Idempotency-Key.
CREATE OR REPLACE FUNCTION tollgate.spend_run_v1(
    p_digest bytea, p_address inet, p_cost numeric, p_tokens bigint, p_usage jsonb,
    p_book_version bigint, p_model text, p_user text, p_surface text, p_feature text, p_agent text,
    p_key text, p_fingerprint bytea, p_request_id text, p_sent_as jsonb
) RETURNS tollgate.answer LANGUAGE plpgsql VOLATILE
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET jit TO off AS $$
DECLARE
    b tollgate.bearer;
    d public.direct_spend;
    answer tollgate.answer;
    at timestamptz;
    facts tollgate.facts;
    ids bigint[];
    day_key text;
    crosses boolean;
    last_alert bigint;
BEGIN
    SELECT * INTO b FROM tollgate.bearer_v1(p_digest, p_address, '{start}', '*');
    IF b.refusal <> '' THEN
        RETURN tollgate.token_refusal(b.refusal);
    END IF;
    IF b.use_due THEN
        PERFORM tollgate.note_token_use_v1(b.token_id, p_address);
    END IF;
    IF tollgate.is_stale(p_book_version) THEN
        RETURN tollgate.stale_prices();
    END IF;
    IF p_cost IS NULL THEN
        RETURN tollgate.refusal(422, 'unpriced_model',
            'this usage has no price: give costUsd, or have a price entered');
    END IF;
    -- The lock of all serialises duplicates too.
    PERFORM tollgate.hold_counters();
    at := tollgate.now();
    IF p_key <> '' THEN
        answer := tollgate.kept_answer(b.lineage, 'spend', p_key, p_fingerprint, at, 200);
        IF answer.status IS NOT NULL THEN
            RETURN answer;
        END IF;
    END IF;
    IF tollgate.over_ceiling(p_cost, b) THEN
        answer := tollgate.refusal(403, 'cost_ceiling', format(
            'this token may report up to $%s a call: a token of scope admin reports it',
            tollgate.usd(b.max_run_usd)));
        answer.alerted := tollgate.alert_cost('direct_spend', NULL, p_agent, p_cost, NULL, b.token_id, true, at);
        RETURN answer;
    END IF;
    facts := tollgate.facts_of_call(b, p_agent, p_user, p_surface, p_feature, p_model, p_address);
    day_key := tollgate.counter_key('global', '', 'day', tollgate.begins('day', at));
    IF NOT EXISTS (SELECT FROM public.counters k WHERE k.key = day_key) THEN
        PERFORM tollgate.make_counters(ARRAY[row('global', '', 'day', tollgate.begins('day', at))::tollgate.counter]);
    END IF;
    ids := tollgate.present_counters(facts, at, false);
    SELECT bool_or(tollgate.crosses(c, tollgate.measured(c.measure, p_cost, p_tokens))) INTO crosses
    FROM tollgate.charges(facts, at, false) c WHERE c.win <> 'open';
    UPDATE public.counters SET runs = runs + 1, settled_usd = settled_usd + p_cost,
        settled_tokens = settled_tokens + p_tokens
    WHERE id = ANY (ids) OR key = day_key;
    INSERT INTO public.direct_spend (id, at, cost_usd, tokens, model, usage, user_id, surface, feature,
        agent_name, source_ip, token_id, sent_as)
    VALUES (tollgate.uuid7(at), at, p_cost, p_tokens, p_model, p_usage, p_user,
        coalesce(tollgate.subject('surface', facts), ''), facts.feature, p_agent, p_address, b.token_id, p_sent_as)
    RETURNING * INTO d;
    IF p_usage IS NOT NULL THEN
        PERFORM tollgate.record_usage(ARRAY[row(d.id, 'spend', at, p_usage, p_cost, true, NULL, '', p_agent,
            p_user, d.surface, d.feature)::tollgate.used]);
    END IF;
    PERFORM tollgate.record(tollgate.spend_event(d, b.actor, b.token_name, p_request_id));
    last_alert := (SELECT max(id) FROM public.alerts);
    IF crosses THEN
        PERFORM tollgate.alert_charges(facts, at);
    END IF;
    PERFORM tollgate.trip_if_over(facts, at);
    PERFORM tollgate.alert_cost('direct_spend', d.id, p_agent, p_cost, NULL, b.token_id, false, at);
    answer := tollgate.granted(200, json_build_object('spendId', d.id, 'costUsd', tollgate.usd(p_cost),
        'day', tollgate.day_figures_v1(at))::text, NULL, p_cost,
        (SELECT max(id) FROM public.alerts) IS DISTINCT FROM last_alert);
    IF p_key <> '' THEN
        PERFORM tollgate.keep_answers('spend', at, row(b.lineage, p_key, p_fingerprint, answer.body)::tollgate.kept);
    END IF;
    RETURN answer;
END $$;

CREATE OR REPLACE PROCEDURE tollgate.spend_v1(
    p_digest bytea, p_address inet, p_cost numeric, p_tokens bigint, p_usage jsonb,
    p_book_version bigint, p_model text, p_user text, p_surface text, p_feature text, p_agent text,
    p_key text, p_fingerprint bytea, p_request_id text, p_sent_as jsonb,
    INOUT status integer, INOUT denial text, INOUT error text, INOUT retry_after integer,
    INOUT reset_at timestamptz, INOUT replayed boolean, INOUT body text, INOUT reserved_usd numeric,
    INOUT settled_usd numeric, INOUT alerted boolean
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT a.* INTO status, denial, error, retry_after, reset_at, replayed, body, reserved_usd,
        settled_usd, alerted
    FROM tollgate.spend_run_v1(p_digest, p_address, p_cost, p_tokens, p_usage, p_book_version, p_model,
        p_user, p_surface, p_feature, p_agent, p_key, p_fingerprint, p_request_id, p_sent_as) a;
    CALL tollgate.commit(status = 200 OR alerted);
END $$;
