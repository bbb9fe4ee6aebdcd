-- Admission: one call decides everything and writes everything: it looks, judges (starts.sql), and writes.
-- A refusal is recorded and costs nothing. A dry run takes the same decision, locks nothing and writes nothing.
--
-- Planned once: the statements are the same whatever is asked, and planning one takes longer than it.
-- By indexes, therefore: a plan from when there were ten counters reads all of a thousand, and
-- starts took three times as long until statistics came. Without bitmaps: to set one up for a row or
-- eight costs more than it saves. Never compiled: before PostgreSQL 18 a plan that scans a table in
-- spite of that seems expensive enough for it, and a start took 200 ms instead of one.

-- Whether a shared limit has no room for this.
CREATE OR REPLACE FUNCTION tollgate.refuses(c tollgate.charge, usd numeric, tokens bigint, confirmed boolean)
RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT c.check_name < 'none' AND tollgate.is_over(c.used, tollgate.measured(c.measure, usd, tokens), c.amount)
        -- One costly run, started on purpose, may have a minute for itself.
        AND NOT (c.check_name = 'breaker_minute' AND confirmed AND c.used = 0 AND usd > c.amount)
$$;

-- What there is under the locks; null where counters were missing, which are made: look again.
CREATE OR REPLACE FUNCTION tollgate.look_at_start(
    s tollgate.start, p_at timestamptz, p_dry boolean, p_retry_after integer
) RETURNS tollgate.look LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    l tollgate.look;
    own bigint[];                -- counters that it is charged to in any case; null: not there yet
    missing boolean;
    some_killed boolean;
    some_tripped boolean;
    way tollgate.start_check;
BEGIN
    l.at := p_at;
    l.facts := tollgate.facts_of(s.wo, s.agent, s.user_id, s.surface, s.feature, s.model, s.tier,
        s.team, s.cost_dimension, host(s.address), s.runs_per_day, s.usd_per_day);
    -- What is used: of the work order, of all; and what may stand in the way of anything. (A dry run makes no counters.)
    SELECT ARRAY[o.id, d.id, a.id, x.id], coalesce(o.open_runs, 0), coalesce(d.runs, 0),
        coalesce(d.reserved_usd + d.settled_usd, 0), v.day + interval '1 day', tollgate.day_after(p_retry_after, p_at),
        (SELECT NOT f.enabled FROM public.feature_flags f WHERE f.feature = s.feature),
        EXISTS (SELECT FROM public.kill_switches k WHERE k.enabled),
        EXISTS (SELECT FROM public.circuit_breakers k WHERE k.state <> 'closed')
    INTO own, l.open_runs, l.runs, l.usd, l.day_ends, l.day_after, l.feature_is_off, some_killed, some_tripped
    FROM (VALUES (date_trunc('day', p_at, 'UTC'))) AS v (day)
    JOIN public.counters a ON a.key = tollgate.counter_key('global', '', 'open', 'epoch')
    LEFT JOIN public.counters x ON x.key = tollgate.counter_key('global', '', 'day', v.day)
    LEFT JOIN public.counters o ON o.key = tollgate.counter_key('work_order', s.wo, 'open', 'epoch')
    LEFT JOIN public.counters d ON d.key = tollgate.counter_key('work_order', s.wo, 'day', v.day);
    SELECT own || array_agg(c.counter_id), bool_or(c.counter_id IS NULL) OR array_position(own, NULL) > 0,
        bool_or(tollgate.crosses(c, tollgate.measured(c.measure, s.estimate, s.tokens))),
        bool_or(c.check_name = 'feature_cost' AND c.used + s.estimate >= c.amount),
        min(c.check_name) FILTER (WHERE tollgate.refuses(c, s.estimate, s.tokens, s.confirm))
    INTO l.counters, missing, l.crosses, l.uses_up, way FROM tollgate.charges(l.facts, p_at, p_dry) c;
    IF missing AND NOT p_dry THEN
        PERFORM tollgate.make_counters(ARRAY(
            SELECT row(c.scope, c.subject, c.win, c.starts_at)::tollgate.counter
            FROM tollgate.charges(l.facts, p_at, false) c WHERE c.counter_id IS NULL)
            || ARRAY[row('work_order', s.wo, 'open', 'epoch'), row('work_order', s.wo, 'day', l.day_ends - interval '1 day'),
                row('global', '', 'day', l.day_ends - interval '1 day')]::tollgate.counter[]);
        RETURN NULL;
    END IF;
    IF way IS NOT NULL THEN
        SELECT c INTO l.way FROM tollgate.charges(l.facts, p_at, p_dry) c WHERE c.check_name = way
            AND tollgate.refuses(c, s.estimate, s.tokens, s.confirm) ORDER BY c.budget_id LIMIT 1;
        l.cured_at := tollgate.cured_at(l.way, p_at);
    END IF;
    IF some_killed THEN
        l.killed := tollgate.kill_switch(s.surface, s.user_id, s.agent, s.lineage);
    END IF;
    IF some_tripped THEN
        -- An open breaker lets one run through when its time is over, a half-open one when its
        -- probe has not reported in time.
        SELECT array_agg(t.id) FILTER (WHERE tollgate.may_probe(t, p_at)) INTO l.probed
        FROM unnest(tollgate.open_breakers(s.wo)) t;
        l.tripped := tollgate.waiting_breaker(s.wo, p_at);
    END IF;
    RETURN l;
END $$;

-- Writes an admission, with what it sets off. The status is null, and nothing is written, where another with its
-- key was admitted meanwhile.
CREATE OR REPLACE FUNCTION tollgate.admit_one(s tollgate.start, l tollgate.look) RETURNS tollgate.answer
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    run_id uuid := tollgate.uuid7(l.at);
    body text := tollgate.start_body(s, run_id, l.at, l.runs + 1, l.usd + s.estimate, l.open_runs + 1);
    charged bigint[];
    alerted boolean := l.probed IS NOT NULL;
BEGIN
    -- Waits for a duplicate that is under way.
    IF s.key <> '' AND tollgate.keep_answers('start', l.at, row(s.lineage, s.key, s.fingerprint, body)::tollgate.kept) = 0
    THEN
        RETURN NULL;
    END IF;
    WITH c AS (
        -- (What covers nothing but alerts, and the rows of all, are among the limits' counters too.)
        UPDATE public.counters SET runs = runs + 1, open_runs = open_runs + 1,
            reserved_usd = reserved_usd + s.estimate, reserved_tokens = reserved_tokens + s.tokens
        WHERE id = ANY (l.counters) RETURNING id)
    SELECT array_agg(c.id) INTO charged FROM c;
    PERFORM tollgate.admit_starts(ARRAY[row(s, run_id, charged, body)::tollgate.admitted],
        ARRAY[tollgate.start_event(s, run_id)], l.at);
    IF l.probed IS NOT NULL THEN
        PERFORM tollgate.probe_breakers(l.probed, run_id, l.at);
    END IF;
    IF l.uses_up OR l.crosses THEN
        alerted := tollgate.alert_use(s.feature, l) OR alerted;
    END IF;
    RETURN tollgate.granted(201, body, s.estimate, NULL, alerted);
END $$;

CREATE OR REPLACE FUNCTION tollgate.start_run_v1(
    p_digest bytea, p_address inet, p_wo text, p_agent text,
    p_estimate numeric,          -- dollars, stated or priced; null: none was given
    p_priced boolean,            -- null: no model was named; false: the model has no price
    p_book_version bigint,       -- price book that p_estimate was priced with; null: stated in dollars
    p_lease integer,             -- seconds
    p_tokens bigint,             -- estimated, input and output together; null: not stated
    p_model text, p_tier text, p_user text, p_surface text, p_feature text,
    p_dry_run boolean, p_confirm boolean, p_key text, p_fingerprint bytea, p_request_id text,
    p_sent_as jsonb,             -- names in another spelling than they are compared in; null: none
    p_retry_after integer,       -- seconds returned for a day's cap; null: those until UTC midnight
    p_lift boolean, p_confirm_over numeric,
    p_refusal_events integer     -- of one line of tokens and second, see refusals.sql
) RETURNS tollgate.answer LANGUAGE plpgsql VOLATILE
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET enable_bitmapscan TO off SET jit TO off AS $$
DECLARE
    b tollgate.bearer;
    s tollgate.start;
    l tollgate.look;
    check_name tollgate.start_check;
    answer tollgate.answer;
    at timestamptz;
    holds_until timestamptz;     -- when a grant begins or ends
    half_open boolean;
    reaped boolean := false;
BEGIN
    SELECT * INTO b FROM tollgate.bearer_v1(p_digest, p_address, '{start}', p_wo);
    IF b.refusal <> '' THEN
        RETURN tollgate.token_refusal(b.refusal);
    END IF;
    IF b.use_due AND NOT p_dry_run THEN
        PERFORM tollgate.note_token_use_v1(b.token_id, p_address);
    END IF;
    s := row(0, NULL, false, p_address, p_wo, p_agent, NULL, p_estimate IS NULL AND NOT p_priced, p_lease, p_tokens,
        p_model, p_tier, p_user, coalesce(nullif(b.surface, ''), p_surface), coalesce(nullif(b.feature, ''), p_feature),
        p_confirm, p_key, p_fingerprint, p_request_id, p_sent_as, b.token_id, b.lineage, b.actor, b.token_name,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

    FOR attempt IN 1..20 LOOP
        -- A replay answers right after the token check. Looked at in every round: a duplicate
        -- that was admitted while this one waited is found here.
        IF p_key <> '' AND NOT p_dry_run THEN
            answer := tollgate.kept_answer(b.lineage, 'start', p_key, p_fingerprint, tollgate.now(), 201);
            IF answer.status IS NOT NULL THEN
                answer.body := tollgate.replayed_start(answer.body);
                RETURN answer;
            END IF;
        END IF;
        IF tollgate.is_stale(p_book_version) THEN
            RETURN tollgate.stale_prices();
        END IF;

        -- Lock first, read after. Nobody changes the work order's caps, its grants or its status while this is held.
        -- A grant may end by itself, though: what is in force is asked for once more if it has when all is locked.
        IF NOT p_dry_run THEN
            PERFORM tollgate.share_work_order(p_wo);
        END IF;
        at := tollgate.now();
        SELECT o.title, o.status, e.runs_per_day, e.usd_per_day, e.max_concurrent_runs, o.team, o.cost_dimension,
            a.known, o.refuse_unknown_agents AND NOT a.known,
            CASE WHEN p_lift AND t.settled_runs >= 20 THEN greatest(x.usd, t.median_usd) ELSE x.usd END,
            coalesce(p_tokens, t.p95_tokens, 0), e.holds_until
        INTO s.title, s.status, s.runs_per_day, s.usd_per_day, s.max_concurrent_runs, s.team, s.cost_dimension,
            s.agent_known, s.agent_refused, s.estimate, s.tokens, holds_until
        FROM public.work_orders o LEFT JOIN public.cost_statistics t ON t.wo_id = o.id
        CROSS JOIN LATERAL tollgate.effective_caps(o.id, at) e
        CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM public.agents a WHERE a.name = p_agent AND a.is_active) AS known) a
        -- (Looked for only where it is needed: most asks name an amount. Zero is one only where it was given in
        -- dollars; tokens that come to zero name none.)
        CROSS JOIN LATERAL (SELECT CASE WHEN p_estimate > 0 OR (p_estimate = 0 AND p_priced IS NULL) THEN p_estimate
            ELSE (SELECT tollgate.default_usd(t.p95_usd, t.successful_runs, c.floor_usd, c.floor_runs,
                e.runs_per_day, e.usd_per_day) FROM public.cost_rules c) END AS usd) x
        WHERE o.id = p_wo;
        IF NOT FOUND THEN
            RETURN tollgate.check_refusal('unknown_work_order');
        END IF;

        -- Then all that is counted. As little as can be is done under this lock: everybody else waits.
        IF NOT p_dry_run THEN
            PERFORM tollgate.hold_counters();
        END IF;
        -- The day and the minute are those that the clock shows now that the locks are held.
        at := tollgate.now();
        CONTINUE WHEN at >= holds_until;
        l := tollgate.look_at_start(s, at, p_dry_run, p_retry_after);
        CONTINUE WHEN l.at IS NULL;
        check_name := tollgate.judge_start(s, l, p_confirm_over);

        -- Room may be held by runs that never reported, a probe among them: no job is needed to be right.
        half_open := coalesce((l.tripped).state = 'half_open', false);
        IF NOT p_dry_run AND NOT reaped AND (half_open OR check_name IN ('concurrency', 'shared_concurrency')) THEN
            reaped := true;
            CONTINUE WHEN tollgate.reap_v1(CASE
                WHEN half_open THEN (SELECT r.wo_id FROM public.work_order_runs r WHERE r.id = (l.tripped).probe_run_id)
                WHEN check_name = 'concurrency' OR (l.way).scope = 'model_tier' THEN p_wo END, 50) > 0;
        END IF;
        IF p_dry_run AND check_name = 'concurrency' THEN
            l.open_runs := l.open_runs - (SELECT count(*) FROM public.work_order_runs r WHERE r.wo_id = p_wo
                AND r.status = 'running' AND r.lease_expires_at <= at);
            check_name := tollgate.judge_start(s, l, p_confirm_over);
        END IF;
        IF p_dry_run THEN
            RETURN tollgate.granted(200, json_build_object(
                'decision', CASE check_name WHEN 'none' THEN 'admit' ELSE 'refuse' END,
                'reason', CASE WHEN check_name <> 'none' THEN
                    (tollgate.start_refusal(check_name, s, l, p_confirm_over)).denial END,
                'wouldReserveUsd', tollgate.usd(s.estimate))::text, NULL, NULL, false);
        END IF;
        IF check_name <> 'none' THEN
            RETURN tollgate.refuse_one(check_name, s, l, p_confirm_over, p_refusal_events);
        END IF;
        answer := tollgate.admit_one(s, l);
        -- (Null: another with its key was admitted meanwhile. The next round finds its answer.)
        IF answer.status IS NOT NULL THEN
            RETURN answer;
        END IF;
    END LOOP;
    RAISE EXCEPTION 'admission found no quiet moment' USING ERRCODE = 'lock_not_available';
END $$;

CREATE OR REPLACE PROCEDURE tollgate.start_v1(
    p_digest bytea, p_address inet, p_wo text, p_agent text, p_estimate numeric, p_priced boolean,
    p_book_version bigint, p_lease integer, p_tokens bigint, p_model text, p_tier text, p_user text, p_surface text,
    p_feature text, p_dry_run boolean, p_confirm boolean, p_key text, p_fingerprint bytea, p_request_id text,
    p_sent_as jsonb, p_retry_after integer, p_lift boolean, p_confirm_over numeric, p_refusal_events integer,
    INOUT status integer, INOUT denial text, INOUT error text, INOUT retry_after integer,
    INOUT reset_at timestamptz, INOUT replayed boolean, INOUT body text, INOUT reserved_usd numeric,
    INOUT settled_usd numeric, INOUT alerted boolean
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT a.* INTO status, denial, error, retry_after, reset_at, replayed, body, reserved_usd,
        settled_usd, alerted
    FROM tollgate.start_run_v1(p_digest, p_address, p_wo, p_agent, p_estimate, p_priced,
        p_book_version, p_lease, p_tokens, p_model, p_tier, p_user, p_surface, p_feature, p_dry_run, p_confirm, p_key,
        p_fingerprint, p_request_id, p_sent_as, p_retry_after, p_lift, p_confirm_over,
        p_refusal_events) a;
    -- A refusal promises nothing, so its event may reach the disk a moment later; unless it tripped
    -- a breaker, or people are notified of it.
    CALL tollgate.commit(status = 201 OR alerted);
END $$;
