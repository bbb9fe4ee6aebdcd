-- Direct spend of a batch, after its finishes. The result is that of recording one call after the other, in
-- the order of `n`. Clear calls are those after which no limit is nearer to a threshold than before, however
-- many of the batch are recorded first: they trip nothing and raise no alert. Those that follow each other are
-- recorded together. The others are recorded one by one, each in a block of its own (docs/locking.md).

-- A call that is clear, who reports it, and the counters that it adds to.
CREATE TYPE tollgate.spending AS (
    n integer, token_id bigint, lineage bigint, actor text, token_name text, surface text, feature text,
    counters bigint[]
);

-- Records calls that are clear, and returns the answers. The caller has the lock of the counters.
CREATE OR REPLACE FUNCTION tollgate.spend_clear(p_asks tollgate.ask[], p_calls tollgate.spending[], p_at timestamptz)
RETURNS text[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    numbers integer[];
    ids uuid[];
    used tollgate.used[];
    answers text[];
BEGIN
    WITH s AS MATERIALIZED (
        SELECT q.n, q.cost, q.tokens, q.usage, q.model, q.user_id, q.agent, q.address,
            q.request_id, q.sent_as, c.token_id, c.actor, c.token_name, c.surface, c.feature, c.counters,
            tollgate.uuid7(p_at) AS id
        FROM unnest(p_calls) c JOIN unnest(p_asks) q ON q.n = c.n ORDER BY q.n),
    sums AS MATERIALIZED (
        SELECT k.id, count(*) AS runs, sum(s.cost) AS settled, sum(s.tokens) AS used
        FROM s CROSS JOIN LATERAL unnest(s.counters) k (id) GROUP BY k.id),
    counted AS (
        UPDATE public.counters k SET runs = k.runs + x.runs, settled_usd = k.settled_usd + x.settled,
            settled_tokens = k.settled_tokens + x.used
        FROM sums x WHERE k.id = x.id AND k.id = ANY (ARRAY(SELECT y.id FROM sums y))),
    spent AS (
        INSERT INTO public.direct_spend (id, at, cost_usd, tokens, model, usage, user_id, surface, feature,
            agent_name, source_ip, token_id, sent_as)
        SELECT s.id, p_at, s.cost, s.tokens, s.model, s.usage, s.user_id, s.surface, s.feature, s.agent,
            s.address, s.token_id, s.sent_as FROM s),
    events AS (
        INSERT INTO public.operations_events (kind, message, owner_type, owner_id, actor, meta, request_id)
        SELECT 'LLM_SPEND', format('$%s spent%s', tollgate.usd(s.cost), coalesce(' on ' || nullif(s.model, ''), '')),
            'direct_spend', s.id::text, s.actor,
            jsonb_build_object('spendId', s.id, 'costUsd', tollgate.usd(s.cost), 'tokens', s.tokens,
                'model', nullif(s.model, ''), 'userId', nullif(s.user_id, ''), 'surface', nullif(s.surface, ''),
                'feature', nullif(s.feature, ''), 'sourceIp', host(s.address), 'tokenName', s.token_name),
            s.request_id
        FROM s ORDER BY s.n)
    SELECT array_agg(s.n), array_agg(s.id), (
        SELECT array_agg(row(u.id, 'spend', p_at, u.usage, u.cost, true, NULL, '', u.agent, u.user_id, u.surface,
            u.feature)::tollgate.used ORDER BY u.n) FROM s u WHERE u.usage IS NOT NULL)
    INTO numbers, ids, used FROM s;
    IF used IS NOT NULL THEN
        PERFORM tollgate.record_usage(used);
    END IF;
    -- The day as it was after this one: without what those after it have spent.
    WITH calls AS MATERIALIZED (
        SELECT q.n, q.key, q.fingerprint, q.cost, c.lineage,
            json_build_object('spendId', i.id, 'costUsd', tollgate.usd(q.cost), 'day',
                tollgate.day_figures_v1(p_at, coalesce(sum(q.cost) OVER (ORDER BY q.n
                    ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING), 0)))::text AS body
        FROM unnest(numbers, ids) i (n, id) JOIN unnest(p_asks) q ON q.n = i.n
        JOIN unnest(p_calls) c ON c.n = i.n),
    kept AS (
        INSERT INTO public.idempotency_records (token_id, endpoint, key, fingerprint, answer, created_at)
        SELECT t.lineage, 'spend', t.key, t.fingerprint, jsonb_build_object('body', t.body), p_at
        FROM calls t WHERE t.key <> ''
        ON CONFLICT (token_id, endpoint, key) DO UPDATE SET fingerprint = excluded.fingerprint,
            answer = excluded.answer, created_at = excluded.created_at)
    SELECT array_agg(tollgate.answer_json(t.n, row(200, '', NULL, NULL, NULL, false, t.body, NULL, t.cost,
        false)::tollgate.answer)) INTO answers FROM calls t;
    RETURN answers;
END $$;

-- One call by itself: a failure hands it back, with nothing written.
CREATE OR REPLACE FUNCTION tollgate.spend_alone(q tollgate.ask) RETURNS tollgate.answer
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN tollgate.spend_run_v1(q.digest, q.address, q.cost, q.tokens, q.usage, q.book_version, q.model,
        q.user_id, q.surface, q.feature, q.agent, q.key, q.fingerprint, q.request_id, q.sent_as);
EXCEPTION WHEN OTHERS THEN
    RETURN tollgate.refusal(0, 'alone', SQLSTATE);
END $$;

-- Which calls are clear at that moment; and, made on the way, the counters that they add to.
CREATE OR REPLACE FUNCTION tollgate.clear_spending(p_asks tollgate.ask[], p_at timestamptz)
RETURNS tollgate.spending[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    book bigint := (SELECT version FROM public.price_book_version);
    over numeric := (SELECT alert_over_usd FROM public.cost_rules);
    -- (A breaker that is open opens no more.)
    may_open boolean := NOT EXISTS (SELECT FROM public.circuit_breakers c WHERE c.scope = 'global' AND c.state <> 'closed');
    day_key text := tollgate.counter_key('global', '', 'day', tollgate.begins('day', p_at));
    clear tollgate.spending[];
    missing tollgate.charge[];
    due bigint[];
    addresses inet[];
BEGIN
    INSERT INTO public.counters (key, scope, subject, "window", starts_at)
    SELECT day_key, 'global', '', 'day', tollgate.begins('day', p_at)
    WHERE NOT EXISTS (SELECT FROM public.counters k WHERE k.key = day_key) ON CONFLICT DO NOTHING;
    LOOP
        WITH judged AS MATERIALIZED (
            SELECT t.digest, t.address, t.n, b FROM (
                SELECT q.digest, q.address, min(q.n) AS n FROM unnest(p_asks) q GROUP BY q.digest, q.address) t
            CROSS JOIN LATERAL tollgate.bearer_v1(t.digest, t.address, '{start}', '*') b),
        -- `fit`: for being clear, if its limits are. All others may be recorded too, and count.
        asked AS MATERIALIZED (
            SELECT q.n, q.cost, q.tokens, j.b AS who, n.surface, n.feature, tollgate.facts_of('', q.agent,
                    q.user_id, n.surface, n.feature, q.model, '', '', 'llm_api', host(q.address), NULL, NULL) AS facts,
                q.cost BETWEEN 0 AND 1000000 AND q.cost <= over AND q.tokens >= 0
                    AND (q.cost <= (j.b).max_run_usd OR 'admin' = ANY ((j.b).scopes))
                    AND (q.book_version IS NULL OR q.book_version = book)
                    AND (q.key = '' OR (NOT EXISTS (SELECT FROM unnest(p_asks) o
                            JOIN judged oj ON oj.digest = o.digest AND oj.address IS NOT DISTINCT FROM o.address
                            WHERE o.key = q.key AND o.n < q.n AND (oj.b).lineage = (j.b).lineage)
                        AND NOT EXISTS (SELECT FROM public.idempotency_records i
                            WHERE i.token_id = (j.b).lineage AND i.endpoint = 'spend' AND i.key = q.key
                                AND i.created_at > p_at - interval '48 hours'))) AS fit
            FROM unnest(p_asks) q
            JOIN judged j ON j.digest = q.digest AND j.address IS NOT DISTINCT FROM q.address
            CROSS JOIN LATERAL (SELECT coalesce(nullif((j.b).surface, ''), q.surface) AS surface,
                coalesce(nullif((j.b).feature, ''), q.feature) AS feature) n
            WHERE (j.b).refusal = '' AND q.cost IS NOT NULL),
        kinds AS MATERIALIZED (
            SELECT a.facts, count(*) AS calls, sum(greatest(a.cost, 0)) AS usd, sum(greatest(a.tokens, 0)) AS tokens,
                bool_or(a.fit) AS fit
            FROM asked a GROUP BY a.facts),
        ways AS MATERIALIZED (
            SELECT k.facts, k.fit, c, sum(CASE WHEN c.measure IN ('usd', 'tokens')
                THEN tollgate.measured(c.measure, k.usd, k.tokens::bigint) ELSE k.calls END)
                OVER (PARTITION BY c.stage, c.budget_id, c.subject, c.win, c.measure) AS more
            FROM kinds k CROSS JOIN LATERAL tollgate.charges(k.facts, p_at, false) c WHERE c.win <> 'open'),
        room AS MATERIALIZED (
            SELECT w.facts, array_agg(DISTINCT (w.c).counter_id) AS counters,
                NOT bool_or(tollgate.crosses(w.c, w.more)
                    OR ((w.c).stage = 15 AND may_open AND (w.c).used + w.more > (w.c).amount)
                    OR ((w.c).stage = 5 AND (w.c).measure = 'usd' AND (w.c).used + w.more >= (w.c).amount
                        AND (SELECT f.enabled FROM public.feature_flags f WHERE f.feature = (w.c).subject)))
                    AS untouched
            FROM ways w GROUP BY w.facts)
        SELECT (SELECT array_agg(DISTINCT w.c) FROM ways w WHERE w.fit AND (w.c).counter_id IS NULL),
            (SELECT array_agg((j.b).token_id ORDER BY j.n) FROM judged j
             WHERE (j.b).refusal = '' AND (j.b).use_due),
            (SELECT array_agg(j.address ORDER BY j.n) FROM judged j WHERE (j.b).refusal = '' AND (j.b).use_due),
            (SELECT array_agg(row(a.n, (a.who).token_id, (a.who).lineage, (a.who).actor, (a.who).token_name,
                a.surface, a.feature, (SELECT array_agg(DISTINCT x) FROM unnest(k.id || coalesce(r.counters, '{}')) x)
                )::tollgate.spending ORDER BY a.n)
             FROM asked a LEFT JOIN room r ON r.facts = a.facts
             CROSS JOIN (SELECT c.id FROM public.counters c WHERE c.key = day_key) k
             WHERE a.fit AND coalesce(r.untouched, true))
        INTO missing, due, addresses, clear;
        EXIT WHEN missing IS NULL;
        INSERT INTO public.counters (key, scope, subject, "window", starts_at)
        SELECT DISTINCT tollgate.counter_key(c.scope, c.subject, c.win, c.starts_at), c.scope, c.subject,
            c.win, c.starts_at
        FROM unnest(missing) c ON CONFLICT DO NOTHING;
    END LOOP;
    IF due IS NOT NULL THEN
        PERFORM tollgate.note_token_use_v1(u.token, u.address) FROM unnest(due, addresses) u (token, address);
    END IF;
    RETURN coalesce(clear, '{}');
END $$;

-- Decides the elements of `p_asks`, all of them direct spend. The results are as of tollgate.settle_batch_v1.
CREATE OR REPLACE FUNCTION tollgate.spend_batch_v1(p_asks tollgate.ask[], OUT answers text[], OUT flush boolean)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET enable_bitmapscan TO off SET jit TO off AS $$
DECLARE
    at timestamptz;
    clear tollgate.spending[] := '{}'::tollgate.spending[];
    part tollgate.spending[];
    done integer := -1;
    blocked boolean := false;   -- somebody would have to be waited for: not once for each
    step record;
    q tollgate.ask;
    a tollgate.answer;
BEGIN
    answers := '{}';
    flush := false;
    PERFORM tollgate.hold_counters();
    at := tollgate.now();
    IF cardinality(p_asks) > 1 THEN   -- one that is alone is cheaper by itself
        BEGIN
            clear := tollgate.clear_spending(p_asks, at);
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'direct spend of a batch, one by one: % (%)', SQLERRM, SQLSTATE;
            clear := '{}';
        END;
    END IF;
    -- Each of the others in its turn, after the clear ones before it; then the clear ones that are left.
    FOR step IN
        SELECT s AS ask, s.n AS upto FROM unnest(p_asks) s
        WHERE NOT s.n = ANY (ARRAY(SELECT c.n FROM unnest(clear) c))
        UNION ALL SELECT NULL, 2147483647
        ORDER BY upto
    LOOP
        SELECT array_agg(c ORDER BY c.n) INTO part FROM unnest(clear) c WHERE c.n > done AND c.n < step.upto;
        done := step.upto;
        IF part IS NOT NULL THEN
            BEGIN
                answers := answers || tollgate.spend_clear(p_asks, part, at);
                flush := true;
            EXCEPTION WHEN OTHERS THEN
                RAISE WARNING 'direct spend of a batch, one by one: % (%)', SQLERRM, SQLSTATE;
                blocked := blocked OR SQLSTATE = '55P03';
                FOR q IN SELECT s.* FROM unnest(p_asks) s JOIN unnest(part) c ON c.n = s.n ORDER BY s.n LOOP
                    IF blocked THEN
                        a := tollgate.refusal(0, 'alone', '55P03');
                    ELSE
                        a := tollgate.spend_alone(q);
                    END IF;
                    answers := answers || tollgate.answer_json(q.n, a);
                    flush := flush OR a.status = 200 OR coalesce(a.alerted, false);
                END LOOP;
            END;
        END IF;
        CONTINUE WHEN done = 2147483647;
        q := step.ask;
        IF blocked THEN
            a := tollgate.refusal(0, 'alone', '');
        ELSE
            a := tollgate.spend_alone(q);
        END IF;
        blocked := blocked OR coalesce(a.status = 0 AND a.error = '55P03', false);
        answers := answers || tollgate.answer_json(q.n, a);
        flush := flush OR a.status = 200 OR coalesce(a.alerted, false);
    END LOOP;
END $$;
