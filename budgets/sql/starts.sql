-- A start: what is asked, what is looked at, the judgment, and what is written of it. The same whether it is
-- decided alone (admission.sql) or with others (batch_set.sql). An extension is judged and refused by it, too.

CREATE TYPE tollgate.start AS (
    n integer,             -- its place in the batch
    twin_of integer,       -- the ask before it with the same key; null: none
    stale boolean,         -- priced with another version of the price book than is in force
    address inet, wo text, agent text,
    asked numeric,         -- dollars; null where the default is to be reserved
    unpriced boolean,
    lease integer, asked_tokens bigint, model text, tier text, user_id text, surface text, feature text,
    confirm boolean, key text, fingerprint bytea, request_id text, sent_as jsonb,
    token_id bigint, lineage bigint, actor text, token_name text,
    -- As of the work order; its status is null where there is none.
    title text, status text, runs_per_day integer, usd_per_day numeric, max_concurrent_runs integer,
    team text, cost_dimension text, agent_known boolean, agent_refused boolean, estimate numeric,
    tokens bigint,
    answered tollgate.answer   -- under its key before; its status is null where nothing was
);

-- What is looked at under the locks.
CREATE TYPE tollgate.look AS (
    at timestamptz,
    day_after integer, day_ends timestamptz,            -- of a refusal by the day's caps
    killed public.kill_switches,                        -- the switch in the way
    tripped public.circuit_breakers,                    -- the breaker in the way
    feature_is_off boolean,
    open_runs bigint, runs bigint, usd numeric,         -- used: of the work order
    way tollgate.charge, cured_at timestamptz,          -- the first shared limit in the way, and when time cures it
    facts tollgate.facts, counters bigint[],            -- what it is charged to
    probed bigint[],                                    -- breakers whose time is over: this run is their probe
    uses_up boolean,                                    -- the dollars of its feature
    crosses boolean                                     -- a threshold: people are alerted
);

-- Pure: the check that refuses.
CREATE OR REPLACE FUNCTION tollgate.judge_start(s tollgate.start, l tollgate.look, p_confirm_over numeric)
RETURNS tollgate.start_check LANGUAGE sql IMMUTABLE AS $$
    SELECT least(
        tollgate.first_refusal((s.answered).status IS NOT NULL, s.stale, s.status, (l.killed).id IS NOT NULL,
            (l.tripped).id IS NOT NULL, l.feature_is_off, s.agent_refused, s.unpriced,
            s.estimate > p_confirm_over AND NOT s.confirm),
        CASE WHEN l.open_runs >= s.max_concurrent_runs THEN 'concurrency'::tollgate.start_check END,
        CASE WHEN l.runs >= s.runs_per_day THEN 'runs_per_day'::tollgate.start_check END,
        CASE WHEN tollgate.is_over(l.usd, s.estimate, s.usd_per_day) THEN 'usd_per_day'::tollgate.start_check END,
        (l.way).check_name)
$$;

-- The refusal that a limit in the way means. `p_day_after`: seconds to wait for a day, by the setting.
CREATE OR REPLACE FUNCTION tollgate.limit_refusal(
    c tollgate.charge, p_at timestamptz, p_day_after integer, p_cured_at timestamptz
) RETURNS tollgate.answer LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    after integer := coalesce(CASE c.win WHEN 'day' THEN p_day_after END, tollgate.seconds_until(p_cured_at, p_at));
    answer tollgate.answer;
BEGIN
    answer := CASE c.check_name
        WHEN 'feature_rate' THEN tollgate.refusal(429, 'feature_rate', 'feature rate reached', after, p_cured_at)
        WHEN 'feature_cost' THEN CASE WHEN c.used >= c.amount THEN tollgate.check_refusal('feature_off', c.subject)
            ELSE tollgate.refusal(429, 'feature_rate', 'feature cost cap reached', after, p_cured_at) END
        WHEN 'shared_concurrency' THEN tollgate.check_refusal('concurrency')
        WHEN 'quota' THEN tollgate.refusal(429, CASE c.scope WHEN 'user' THEN 'user_quota' ELSE 'address_rate' END,
            'quota reached', after, p_cured_at)
        ELSE tollgate.refusal(429, format('budget:%s:%s', c.scope, c.win), 'global budget reached', after, p_cured_at)
    END;
    answer.body := json_build_object('scope', c.scope, 'subject', c.subject)::text;
    RETURN answer;
END $$;

-- Pure: what is answered to a start that this check refuses.
CREATE OR REPLACE FUNCTION tollgate.start_refusal(
    p_check tollgate.start_check, s tollgate.start, l tollgate.look, p_confirm_over numeric
) RETURNS tollgate.answer LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    -- (Each by itself, since PostgreSQL prepares what it may have to compute in each transaction.)
    IF p_check IN ('runs_per_day', 'usd_per_day') THEN
        RETURN tollgate.check_refusal(p_check, NULL, l.day_after, l.day_ends);
    ELSIF p_check = 'breaker_minute' AND tollgate.too_large(l.way, s.estimate) THEN
        RETURN tollgate.wait_for_minute(l.way, s.estimate, l.cured_at, l.at);
    ELSIF p_check = 'breaker_minute' THEN
        RETURN tollgate.check_refusal('breaker_open', NULL, coalesce((l.tripped).open_seconds, 300),
            (l.tripped).half_open_at);
    ELSIF p_check IN ('feature_rate', 'feature_cost', 'shared_concurrency', 'quota', 'shared_budget') THEN
        RETURN tollgate.limit_refusal(l.way, l.at, l.day_after, l.cured_at);
    ELSIF p_check = 'replay' THEN
        RETURN s.answered;
    ELSIF p_check = 'kill_switch' THEN
        RETURN tollgate.killed(l.killed);
    ELSIF p_check = 'breaker_open' THEN
        RETURN tollgate.breaker_refusal(l.tripped, l.at);
    END IF;
    RETURN tollgate.check_refusal(p_check, CASE p_check WHEN 'feature_off' THEN s.feature
        WHEN 'suspended' THEN s.status ELSE p_confirm_over::text END);
END $$;

-- What is answered to an extension that this check refuses.
CREATE OR REPLACE FUNCTION tollgate.extension_refusal(p_check tollgate.start_check, s tollgate.start, l tollgate.look)
RETURNS tollgate.answer LANGUAGE plpgsql STABLE AS $$
DECLARE
    way constant tollgate.charge := l.way;
    open_seconds constant integer := (l.tripped).open_seconds;
    half_open_at constant timestamptz := (l.tripped).half_open_at;
    answer tollgate.answer;
BEGIN
    IF p_check = 'breaker_open' THEN
        RETURN tollgate.check_refusal(p_check, NULL, least(tollgate.seconds_until(half_open_at, l.at), open_seconds),
            least(greatest(l.at, half_open_at), l.at + make_interval(secs => open_seconds)));
    ELSIF p_check = 'breaker_minute' AND s.estimate > way.amount THEN
        RETURN tollgate.refusal(503, 'breaker_open',
            'more at once than $' || tollgate.usd(way.amount) || ' a minute: extend in steps', 60);
    END IF;
    answer := tollgate.start_refusal(p_check, s, l, NULL);
    -- What a past day or month allows is spent for good: no waiting cures that.
    IF p_check = way.check_name AND NOT tollgate.is_short(way.win) AND way.starts_at < tollgate.begins(way.win, l.at) THEN
        answer.retry_after := NULL;
        answer.reset_at := NULL;
    END IF;
    RETURN answer;
END $$;

-- Records a refused start, or extension of run `p_run`.
CREATE OR REPLACE FUNCTION tollgate.refuse_start(
    p_answer tollgate.answer, p_check tollgate.start_check, s tollgate.start, l tollgate.look, p_confirm_over numeric,
    p_refusal_events integer, p_run uuid DEFAULT NULL
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    place tollgate.refusal_place;       -- in the log
    refused_by bigint := CASE WHEN p_check = (l.way).check_name THEN (l.way).budget_id END;
    cap text := CASE p_check WHEN 'concurrency' THEN s.max_concurrent_runs::text
        WHEN 'runs_per_day' THEN s.runs_per_day::text WHEN 'usd_per_day' THEN s.usd_per_day::text
        WHEN 'confirm' THEN p_confirm_over::text
        WHEN (l.way).check_name THEN CASE (l.way).measure WHEN 'usd' THEN (l.way).amount::text
            ELSE (l.way).amount::bigint::text END END;
BEGIN
    SELECT p.* INTO place FROM tollgate.refusal_place(s.lineage, CASE WHEN p_run IS NULL THEN 'start' ELSE 'extension' END,
        s.wo, p_answer.denial, concat_ws(' ', p_answer.error, refused_by), l.at, p_refusal_events) p;
    PERFORM tollgate.record_refusal(place, row(CASE WHEN p_answer.status = 429 THEN 'RATE_LIMIT_429'
            WHEN p_run IS NULL THEN 'START_REFUSED' ELSE 'EXTENSION_REFUSED' END,
        format(CASE WHEN p_run IS NULL THEN '%s refused: %s' ELSE '%s refused more: %s' END, s.agent, p_answer.error),
        'work_order', s.wo, s.title, s.actor,
        jsonb_build_object('woId', s.wo, 'woTitle', s.title, 'agentName', s.agent,
            'reason', p_answer.denial, 'runsToday', l.runs, 'usdToday', tollgate.usd(l.usd),
            'cap', cap, 'estimatedUsd', tollgate.usd(s.estimate), 'askKey', nullif(s.key, ''),
            'sourceIp', host(s.address), 'tokenName', s.token_name)
            || jsonb_strip_nulls(jsonb_build_object('budgetId', refused_by, 'feature', nullif(s.feature, ''),
                'runId', p_run)),
        s.request_id)::tollgate.event, l.at, p_refusal_events);
END $$;

-- Writes a refusal of a start, or of an extension of run `p_run`, with what it sets off.
CREATE OR REPLACE FUNCTION tollgate.refuse_one(
    p_check tollgate.start_check, s tollgate.start, l tollgate.look, p_confirm_over numeric, p_refusal_events integer,
    p_run uuid DEFAULT NULL
) RETURNS tollgate.answer LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    answer tollgate.answer;
    trips boolean := p_check = 'breaker_minute' AND NOT tollgate.too_large(l.way, s.estimate);
BEGIN
    -- It would be admitted, but for the dollars that this minute has committed already: the breaker trips. An ask
    -- that is more than these, or too large for any minute, is to blame itself: it waits, and trips nothing.
    IF trips THEN
        l.tripped := tollgate.trip('global', '', format('$%s within a minute and $%s more asked for, over $%s',
            tollgate.usd((l.way).used), tollgate.usd(s.estimate), tollgate.usd((l.way).amount)), l.at);
    END IF;
    answer := CASE WHEN p_run IS NULL THEN tollgate.start_refusal(p_check, s, l, p_confirm_over)
        ELSE tollgate.extension_refusal(p_check, s, l) END;
    answer.alerted := trips;
    -- (Only what is committed switches a feature off, never what was asked for: it is used up since
    -- its cap was lowered, or somebody switched it on again.)
    IF p_check = 'feature_cost' AND (l.way).used >= (l.way).amount THEN
        PERFORM tollgate.switch_feature_off(s.feature, l.way, l.at);
        answer.alerted := true;
    END IF;
    PERFORM tollgate.refuse_start(answer, p_check, s, l, p_confirm_over, p_refusal_events, p_run);
    RETURN answer;
END $$;

-- What new use sets off: a feature whose dollars are used up, and alerts. Returns whether to notify people.
CREATE OR REPLACE FUNCTION tollgate.alert_use(p_feature text, l tollgate.look) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF l.uses_up THEN
        PERFORM tollgate.switch_feature_off(p_feature, c, l.at) FROM tollgate.charges(l.facts, l.at, false) c
        WHERE c.check_name = 'feature_cost' AND c.used >= c.amount;
    END IF;
    RETURN coalesce(l.crosses AND tollgate.alert_charges(l.facts, l.at), false) OR coalesce(l.uses_up, false);
END $$;

-- The answer to a start that was admitted; `p_runs`, `p_usd`, `p_open`: of the work order, with it.
CREATE OR REPLACE FUNCTION tollgate.start_body(
    s tollgate.start, p_run uuid, p_at timestamptz, p_runs bigint, p_usd numeric, p_open bigint
) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'runId', p_run, 'workOrderId', s.wo, 'status', 'running', 'reservedUsd', tollgate.usd(s.estimate),
        'leaseExpiresAt', tollgate.rfc3339(p_at + make_interval(secs => s.lease)),
        'caps', json_build_object('runsPerDay', s.runs_per_day, 'usdPerDay', s.usd_per_day),
        'usage', json_build_object('runsToday', p_runs, 'usdToday', tollgate.usd(p_usd), 'openRuns', p_open))::text
$$;

CREATE TYPE tollgate.admitted AS (start tollgate.start, run_id uuid, counters bigint[], body text);

CREATE OR REPLACE FUNCTION tollgate.start_event(s tollgate.start, p_run uuid) RETURNS tollgate.event
LANGUAGE sql STABLE AS $$
    SELECT row('WORK_ORDER_START', s.agent || ' started', 'work_order', s.wo, s.title, s.actor,
        jsonb_build_object('woId', s.wo, 'woTitle', s.title, 'agentName', s.agent, 'agentKnown', s.agent_known,
            'runId', p_run, 'sourceIp', host(s.address), 'estimatedUsd', tollgate.usd(s.estimate),
            'askKey', nullif(s.key, ''), 'tokenName', s.token_name), s.request_id)::tollgate.event
$$;

-- Writes the runs and their events. The caller has charged the counters.
CREATE OR REPLACE FUNCTION tollgate.admit_starts(
    p_admitted tollgate.admitted[], p_events tollgate.event[], p_at timestamptz
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO public.work_order_runs (id, wo_id, agent_name, agent_known, status, reserved_usd,
        reserved_tokens, day, started_at, lease_expires_at, lease_seconds, model, model_tier, team, cost_dimension,
        user_id, surface, feature, source_ip, idempotency_key, token_id, sent_as, charged_to)
    SELECT a.run_id, s.wo, s.agent, s.agent_known, 'running', s.estimate, s.tokens, (p_at AT TIME ZONE 'UTC')::date,
        p_at, p_at + make_interval(secs => s.lease), s.lease, s.model, s.tier, s.team, s.cost_dimension, s.user_id,
        s.surface, s.feature, s.address, s.key, s.token_id, s.sent_as, a.counters
    FROM unnest(p_admitted) a CROSS JOIN LATERAL (SELECT (a.start).*) s;
    PERFORM tollgate.record(VARIADIC p_events);
END $$;
