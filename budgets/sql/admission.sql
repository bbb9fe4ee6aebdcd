-- Admission: one call decides everything and writes everything.
--
-- Order of the checks: the table in the design, kept by the order of the blocks below. The first
-- refusal wins. A refusal is recorded and costs nothing. A dry run takes the same decision,
-- locks nothing and writes nothing.

CREATE OR REPLACE FUNCTION tollgate.start_run_v1(
    p_digest bytea, p_address inet, p_wo text, p_agent text,
    p_estimate numeric,          -- dollars, told or priced; null: none was given
    p_priced boolean,            -- null: no model was named; false: the model has no price
    p_book_version bigint,       -- price book that p_estimate was priced with; null: told in dollars
    p_lease integer,             -- seconds
    p_tokens bigint,             -- estimated, input and output together; null: not told
    p_model text, p_tier text, p_user text, p_surface text, p_feature text,
    p_dry_run boolean, p_confirm boolean, p_key text, p_fingerprint bytea, p_request_id text,
    p_sent_as jsonb,             -- names in another spelling than they are compared in; null: none
    p_retry_after integer,       -- seconds said for a day's cap; null: those until UTC midnight
    p_lift boolean, p_confirm_over numeric,
    p_refusal_events integer     -- of one line of tokens and second, see refusals.sql
) RETURNS tollgate.answer LANGUAGE plpgsql VOLATILE
-- Planned once: the statements are the same whatever is asked, and planning one takes longer than it.
-- By indexes, therefore: a plan from when there were ten counters reads all of a thousand, and
-- starts took three times as long until statistics came. Without bitmaps: to set one up for a row or
-- eight costs more than it saves. Never compiled: before PostgreSQL 18 a plan that scans a table in
-- spite of that seems dear enough for it, and a start took 200 ms instead of one.
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET enable_bitmapscan TO off SET jit TO off AS $$
DECLARE
    b tollgate.bearer;
    answer tollgate.answer;
    stored public.idempotency_records;
    w record;                    -- the work order and what it is about
    n record;                    -- what is used of it and of all
    facts tollgate.facts;
    at timestamptz;
    day timestamptz;
    tomorrow timestamptz;
    seen record;                 -- what the shared limits say; crosses: people are to be told
    way tollgate.charge;         -- the first shared limit in the way
    probed bigint[];             -- open breakers whose time is over: this run is their probe
    waits public.circuit_breakers;      -- the breaker in the way
    killed public.kill_switches;        -- the kill switch in the way
    wo_open bigint;
    wo_runs bigint;
    wo_used numeric;
    estimate numeric;
    tokens bigint;
    day_after integer;
    cap text;
    reaped boolean := false;
    run_id uuid;
    lease_end timestamptz;
    surface_name text;
    feature_name text;
BEGIN
    -- 1. The token.
    SELECT * INTO b FROM tollgate.bearer_v1(p_digest, p_address, '{start}', p_wo);
    IF b.refusal <> '' THEN
        RETURN tollgate.token_refusal(b.refusal);
    END IF;
    IF b.use_due AND NOT p_dry_run THEN
        PERFORM tollgate.note_token_use_v1(b.token_id, p_address);
    END IF;
    surface_name := coalesce(nullif(b.surface, ''), p_surface);
    feature_name := coalesce(nullif(b.feature, ''), p_feature);

    FOR attempt IN 1..20 LOOP
        -- A replay answers right after the token check. Looked at in every round: a duplicate
        -- that was admitted while this one waited is found here.
        IF p_key <> '' AND NOT p_dry_run THEN
            SELECT * INTO stored FROM public.idempotency_records i
            WHERE i.token_id = b.lineage AND i.endpoint = 'start' AND i.key = p_key
                AND i.created_at > tollgate.now() - interval '48 hours';
            IF FOUND THEN
                IF stored.fingerprint <> p_fingerprint THEN
                    RETURN tollgate.key_refusal();
                END IF;
                answer.status := 201;
                answer.denial := '';
                answer.replayed := true;
                PERFORM tollgate.confirm_commit();
                answer.body := tollgate.replayed_start(stored.answer->>'body');
                RETURN answer;
            END IF;
        END IF;

        IF p_book_version IS NOT NULL
            AND p_book_version <> (SELECT version FROM public.price_book_version) THEN
            RETURN tollgate.refusal(0, 'stale_prices', (SELECT version::text FROM public.price_book_version));
        END IF;

        -- Lock first, read after. 2. The work order: nobody changes its caps, its grants or its status
        -- while this is held. A grant may end by itself, though, so what is in force is asked for a
        -- moment, and once more if that has passed when the next lock is held.
        IF NOT p_dry_run THEN
            PERFORM tollgate.share_work_order(p_wo);
        END IF;
        at := tollgate.now();
        SELECT o.title, o.status, e.runs_per_day, e.usd_per_day, e.max_concurrent_runs, e.holds_until,
            o.refuse_unknown_agents, o.team, o.cost_dimension, s.settled_runs, s.median_usd, s.p95_tokens,
            -- (Looked for only where it is needed: most asks name an amount.)
            CASE WHEN p_estimate > 0 OR (p_estimate = 0 AND p_priced IS NULL) THEN p_estimate ELSE (
                SELECT tollgate.default_usd(s.p95_usd, s.successful_runs, c.floor_usd, c.floor_runs,
                    e.runs_per_day, e.usd_per_day) FROM public.cost_rules c) END AS estimate,
            EXISTS (SELECT FROM public.agents a WHERE a.name = p_agent AND a.is_active) AS agent_known
        INTO w FROM public.work_orders o LEFT JOIN public.cost_statistics s ON s.wo_id = o.id
        CROSS JOIN LATERAL tollgate.effective_caps(o.id, at) e WHERE o.id = p_wo;
        IF NOT FOUND THEN
            RETURN tollgate.start_refusal(2);
        END IF;
        -- Zero is an amount only where it was given in dollars; tokens that come to zero name none.
        estimate := w.estimate;
        IF p_lift AND w.settled_runs >= 20 THEN
            estimate := greatest(estimate, w.median_usd);
        END IF;
        tokens := coalesce(p_tokens, w.p95_tokens, 0);
        facts := tollgate.facts_of(p_wo, p_agent, p_user, surface_name, feature_name, p_model, p_tier,
            w.team, w.cost_dimension, host(p_address), w.runs_per_day, w.usd_per_day);

        -- Then all that is counted. Who has that lock may write, and create, any counter. As little as
        -- can be is done under it: everybody else waits.
        IF NOT p_dry_run THEN
            PERFORM tollgate.hold_counters();
        END IF;
        -- The day and the minute are those that the clock shows now that the locks are held.
        at := tollgate.now();
        IF at >= w.holds_until THEN
            CONTINUE;
        END IF;
        day := date_trunc('day', at, 'UTC');
        tomorrow := day + interval '1 day';

        -- What is used: of the work order, of all; what may stand in the way of anything; and every
        -- shared limit that covers the ask.
        SELECT o.id AS wo_id, o.open_runs AS wo_open, d.id AS wo_day_id, d.runs AS wo_runs,
            d.reserved_usd + d.settled_usd AS wo_used, a.id AS all_id, x.id AS all_day_id,
            EXISTS (SELECT FROM public.kill_switches k WHERE k.enabled) AS some_killed,
            EXISTS (SELECT FROM public.circuit_breakers k WHERE k.state <> 'closed') AS some_tripped,
            (SELECT NOT f.enabled FROM public.feature_flags f WHERE f.feature = feature_name) AS feature_is_off
        INTO n FROM public.counters a
        LEFT JOIN public.counters x ON x.key = tollgate.counter_key('global', '', 'day', day)
        LEFT JOIN public.counters o ON o.key = tollgate.counter_key('work_order', p_wo, 'open', 'epoch')
        LEFT JOIN public.counters d ON d.key = tollgate.counter_key('work_order', p_wo, 'day', day)
        WHERE a.key = tollgate.counter_key('global', '', 'open', 'epoch');
        SELECT array_agg(c.counter_id) AS ids, bool_or(c.counter_id IS NULL) AS missing,
            bool_or(tollgate.crosses(c, tollgate.measured(c.measure, estimate, tokens))) AS crosses,
            bool_or(c.stage = 5 AND c.measure = 'usd' AND c.used + estimate >= c.amount) AS uses_up,
            min(c.stage * 1000000000000 + coalesce(c.budget_id, 0)) FILTER (WHERE c.stage < 99
                AND (c.used >= c.amount
                    OR c.used + tollgate.measured(c.measure, estimate, tokens) > c.amount)
                -- One costly run, started on purpose, may have a minute for itself.
                AND NOT (c.stage = 15 AND p_confirm AND c.used = 0 AND estimate > c.amount)) AS way
        INTO seen FROM tollgate.charges(facts, at, p_dry_run) c;
        way := NULL;
        IF seen.way IS NOT NULL THEN
            SELECT * INTO way FROM tollgate.charges(facts, at, p_dry_run) c
            WHERE c.stage * 1000000000000 + coalesce(c.budget_id, 0) = seen.way
                AND (c.used >= c.amount
                    OR c.used + tollgate.measured(c.measure, estimate, tokens) > c.amount) LIMIT 1;
        END IF;
        IF (seen.missing OR n.wo_id IS NULL OR n.wo_day_id IS NULL OR n.all_day_id IS NULL)
            AND NOT p_dry_run THEN
            INSERT INTO public.counters (key, scope, subject, "window", starts_at)
            SELECT tollgate.counter_key(v.s, v.o, v.w, v.t), v.s, v.o, v.w, v.t
            FROM (VALUES ('work_order', p_wo, 'open', 'epoch'::timestamptz),
                  ('work_order', p_wo, 'day', day), ('global', '', 'day', day)
                  UNION SELECT c.scope, c.subject, c.win, c.starts_at
                  FROM tollgate.charges(facts, at, false) c WHERE c.counter_id IS NULL
            ) AS v (s, o, w, t) ON CONFLICT DO NOTHING;
            CONTINUE;
        END IF;

        wo_open := coalesce(n.wo_open, 0);   -- (a dry run makes no counters)
        wo_runs := coalesce(n.wo_runs, 0);
        wo_used := coalesce(n.wo_used, 0);
        day_after := coalesce(p_retry_after, ceil(extract(epoch FROM tomorrow - at))::integer);
        answer := NULL;
        probed := NULL;
        waits := NULL;
        killed := NULL;
        IF n.some_killed THEN
            killed := tollgate.kill_switch(surface_name, p_user, p_agent, b.lineage);
        END IF;
        IF n.some_tripped THEN
            -- An open breaker lets one run through when its time is over, a half-open one when its
            -- probe has not reported in time.
            SELECT array_agg(t.id) FILTER (WHERE tollgate.may_probe(t, at)) INTO probed
            FROM unnest(tollgate.open_breakers(p_wo)) t;
            waits := tollgate.waiting_breaker(p_wo, at);
            IF waits.state = 'half_open' AND NOT reaped AND NOT p_dry_run THEN
                -- The probe may have died, and its lease be over already: that decides.
                reaped := true;
                IF tollgate.reap_v1((SELECT r.wo_id FROM public.work_order_runs r WHERE r.id = waits.probe_run_id), 50) > 0 THEN
                    CONTINUE;
                END IF;
            END IF;
        END IF;

        -- 3. The kill switch.
        IF killed.id IS NOT NULL THEN
            answer := tollgate.killed(killed);
        -- 4. The circuit breaker, where it is open already. (It trips at the end of the list.)
        ELSIF waits.id IS NOT NULL THEN
            answer := tollgate.breaker_refusal(waits, at);
            way := NULL;   -- no limit refuses
        -- 5. The feature: off, over its rate, or over its cost cap, which switches it off.
        ELSIF n.feature_is_off THEN
            answer := tollgate.start_refusal(5, feature_name);
        ELSIF way.stage = 5 THEN
            cap := way.amount::text;
            answer := tollgate.limit_refusal(way, at, day_after);
            -- (Only what is committed switches it off, never what was asked for: it is used up since
            -- its cap was lowered, or somebody switched it on again.)
            IF way.scope = 'feature' AND way.used >= way.amount AND NOT p_dry_run THEN
                PERFORM tollgate.switch_feature_off(feature_name, way, at);
                answer.alerted := true;
            END IF;
        -- 6. Suspended or archived.
        ELSIF w.status <> 'draft' THEN
            answer := tollgate.start_refusal(6, w.status);
        -- 7. Unknown agent, where refused.
        ELSIF w.refuse_unknown_agents AND NOT w.agent_known THEN
            answer := tollgate.start_refusal(7);
        -- 8. Concurrent runs: of the work order, of its model tier, of all.
        ELSIF wo_open >= w.max_concurrent_runs OR way.stage = 8 THEN
            IF p_dry_run THEN
                wo_open := wo_open - (SELECT count(*) FROM public.work_order_runs r WHERE r.wo_id = p_wo
                    AND r.status = 'running' AND r.lease_expires_at <= at);
            ELSIF NOT reaped THEN
                -- Room may be held by runs that never reported: no job is needed to be right.
                reaped := true;
                IF tollgate.reap_v1(CASE WHEN wo_open >= w.max_concurrent_runs OR way.scope = 'model_tier'
                    THEN p_wo END, 50) > 0
                THEN
                    CONTINUE;
                END IF;
            END IF;
            IF wo_open >= w.max_concurrent_runs THEN
                cap := w.max_concurrent_runs::text;
                answer := tollgate.start_refusal(8);
            ELSIF way.stage = 8 THEN
                cap := way.amount::bigint::text;
                answer := tollgate.limit_refusal(way, at, day_after);
            END IF;
        END IF;
        IF answer IS NULL THEN
            -- 9. Runs a day.
            IF wo_runs + 1 > w.runs_per_day THEN
                cap := w.runs_per_day::text;
                answer := tollgate.start_refusal(9, NULL, day_after, tomorrow);
            -- 10. Dollars a day.
            ELSIF wo_used >= w.usd_per_day OR wo_used + estimate > w.usd_per_day THEN
                cap := w.usd_per_day::text;
                answer := tollgate.start_refusal(10, NULL, day_after, tomorrow);
            -- 11. Quotas of the user, calls of one source address. 12. Shared budgets.
            ELSIF way.stage IN (11, 12) THEN
                cap := CASE way.measure WHEN 'usd' THEN way.amount::text ELSE way.amount::bigint::text END;
                answer := tollgate.limit_refusal(way, at, day_after);
            -- 13. A model without a price is never a free ride.
            ELSIF p_estimate IS NULL AND NOT p_priced THEN
                answer := tollgate.start_refusal(13);
            -- 14. Costly: only on purpose.
            ELSIF estimate > p_confirm_over AND NOT p_confirm THEN
                cap := p_confirm_over::text;
                answer := tollgate.start_refusal(14, cap);
            -- It would be admitted, but for the dollars that this minute has committed already: the
            -- breaker trips. An ask that is more than these, or too large for any minute, is to blame
            -- itself: it waits, and trips nothing.
            ELSIF way.stage = 15 THEN
                cap := way.amount::text;
                IF tollgate.too_large(way, estimate) THEN
                    answer := tollgate.wait_for_minute(way, estimate, at);
                ELSE
                    IF NOT p_dry_run THEN
                        waits := tollgate.trip('global', '', format(
                            '$%s within a minute and $%s more asked for, over $%s',
                            tollgate.usd(way.used), tollgate.usd(estimate), tollgate.usd(way.amount)), at);
                    END IF;
                    answer := tollgate.refusal(503, 'breaker_open', 'the circuit breaker is open',
                        coalesce(waits.open_seconds, 300), waits.half_open_at);
                    answer.alerted := NOT p_dry_run;
                END IF;
            END IF;
        END IF;

        IF p_dry_run THEN
            answer.body := json_build_object(
                'decision', CASE WHEN answer.denial IS NULL THEN 'admit' ELSE 'refuse' END,
                'reason', answer.denial, 'wouldReserveUsd', tollgate.usd(estimate))::text;
            answer.status := 200;
            answer.denial := '';
            answer.error := NULL;
            answer.alerted := false;
            RETURN answer;
        END IF;

        IF answer.denial IS NOT NULL THEN
            PERFORM tollgate.refuse_start(answer, way, p_wo, w.title, p_agent, feature_name, wo_runs,
                wo_used, cap, estimate, p_key, p_address, b.lineage, b.actor, b.token_name, p_request_id,
                at, p_refusal_events);
            RETURN answer;
        END IF;

        run_id := tollgate.uuid7(at);
        lease_end := at + make_interval(secs => p_lease);
        answer.body := tollgate.start_body(run_id, p_wo, estimate, lease_end, w.runs_per_day, w.usd_per_day,
            wo_runs + 1, wo_used + estimate, wo_open + 1);
        IF p_key <> '' THEN
            -- Waits for a duplicate that is under way; when that one was admitted, nothing is
            -- written here, and the next round finds its answer.
            INSERT INTO public.idempotency_records AS i
                (token_id, endpoint, key, fingerprint, answer, created_at)
            VALUES (b.lineage, 'start', p_key, p_fingerprint, jsonb_build_object('body', answer.body), at)
            ON CONFLICT (token_id, endpoint, key) DO UPDATE SET fingerprint = excluded.fingerprint,
                answer = excluded.answer, created_at = excluded.created_at
            WHERE i.created_at <= at - interval '48 hours';
            IF NOT FOUND THEN
                CONTINUE;
            END IF;
        END IF;
        WITH charged AS (
            -- (What covers nothing but alerts, and the rows of all, are among the limits' counters too.)
            UPDATE public.counters SET runs = runs + 1, open_runs = open_runs + 1,
                reserved_usd = reserved_usd + estimate, reserved_tokens = reserved_tokens + tokens
            WHERE id = ANY (seen.ids || ARRAY[n.wo_id, n.wo_day_id, n.all_id, n.all_day_id])
            RETURNING id
        ), run AS (
            INSERT INTO public.work_order_runs (id, wo_id, agent_name, agent_known, status, reserved_usd,
                reserved_tokens, day, started_at, lease_expires_at, lease_seconds, model, model_tier,
                team, cost_dimension, user_id, surface, feature, source_ip, idempotency_key, token_id,
                sent_as, charged_to)
            VALUES (run_id, p_wo, p_agent, w.agent_known, 'running', estimate, tokens,
                (day AT TIME ZONE 'UTC')::date, at, lease_end, p_lease, p_model, p_tier, w.team,
                w.cost_dimension, p_user, surface_name, feature_name, p_address, p_key, b.token_id,
                p_sent_as, ARRAY(SELECT id FROM charged)))
        INSERT INTO public.operations_events
            (kind, message, owner_type, owner_id, owner_label, actor, meta, request_id)
        VALUES ('WORK_ORDER_START', p_agent || ' started', 'work_order', p_wo, w.title, b.actor,
            tollgate.start_meta(p_wo, w.title, p_agent, w.agent_known, run_id, p_address, estimate, p_key,
                b.token_name),
            p_request_id);
        IF probed IS NOT NULL THEN
            PERFORM tollgate.probe_breakers(probed, run_id, at);
        END IF;
        answer.alerted := probed IS NOT NULL OR seen.uses_up IS TRUE;
        IF seen.uses_up THEN
            PERFORM tollgate.switch_feature_off(feature_name, c, at) FROM tollgate.charges(facts, at, false) c
            WHERE c.stage = 5 AND c.measure = 'usd' AND c.used >= c.amount;
        END IF;
        IF seen.crosses THEN
            answer.alerted := tollgate.alert_charges(facts, at) OR answer.alerted;
        END IF;
        answer.status := 201;
        answer.denial := '';
        answer.replayed := false;
        answer.reserved_usd := estimate;
        RETURN answer;
    END LOOP;
    RAISE EXCEPTION 'admission found no quiet moment' USING ERRCODE = 'lock_not_available';
END $$;

CREATE OR REPLACE PROCEDURE tollgate.start_v1(
    p_digest bytea, p_address inet, p_wo text, p_agent text, p_estimate numeric, p_priced boolean,
    p_book_version bigint,
    p_lease integer,
    p_tokens bigint,
    p_model text,
    p_tier text,
    p_user text,
    p_surface text,
    p_feature text,
    p_dry_run boolean, p_confirm boolean, p_key text, p_fingerprint bytea, p_request_id text,
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
    -- a breaker, or people are told of it.
    CALL tollgate.commit(status = 201 OR alerted);
END $$;
