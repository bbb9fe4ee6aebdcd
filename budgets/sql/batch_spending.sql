-- Direct spend of a batch, after its finishes. The result is that of recording one call after the other, in
-- the order of `n`. Clear calls are those after which no limit is nearer to a threshold than before, however
-- many of the batch are recorded first: they trip nothing and raise no alert. Those that follow each other are
-- recorded together. The others are recorded one by one, each in a block of its own (docs/locking.md).

-- Records calls that are clear, and returns the answers. The caller has the lock of the counters.
CREATE OR REPLACE FUNCTION tollgate.spend_clear(p_clear tollgate.clear_ask[], p_at timestamptz) RETURNS text[]
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    spent tollgate.event[];
    ids uuid[];
    used tollgate.used[];
    kept tollgate.kept[];
    answers text[];
BEGIN
    WITH s AS MATERIALIZED (
        SELECT q.*, c.who, c.counters, tollgate.uuid7(p_at) AS id, x.surface AS surface_name, x.feature AS feature_name
        FROM unnest(p_clear) c CROSS JOIN LATERAL (SELECT (c.ask).*) q
        CROSS JOIN LATERAL (SELECT coalesce(nullif((c.who).surface, ''), q.surface) AS surface,
            coalesce(nullif((c.who).feature, ''), q.feature) AS feature) x
        ORDER BY q.n),
    sums AS MATERIALIZED (
        SELECT k.id, count(*) AS runs, sum(s.cost) AS settled, sum(s.tokens) AS used
        FROM s CROSS JOIN LATERAL unnest(s.counters) k (id) GROUP BY k.id),
    counted AS (
        UPDATE public.counters k SET runs = k.runs + x.runs, settled_usd = k.settled_usd + x.settled,
            settled_tokens = k.settled_tokens + x.used
        FROM sums x WHERE k.id = x.id AND k.id = ANY (ARRAY(SELECT y.id FROM sums y))),
    d AS (
        INSERT INTO public.direct_spend (id, at, cost_usd, tokens, model, usage, user_id, surface, feature,
            agent_name, source_ip, token_id, sent_as)
        SELECT s.id, p_at, s.cost, s.tokens, s.model, s.usage, s.user_id, s.surface_name, s.feature_name, s.agent,
            s.address, (s.who).token_id, s.sent_as FROM s
        RETURNING *)
    SELECT array_agg(tollgate.spend_event(d, (s.who).actor, (s.who).token_name, s.request_id) ORDER BY s.n),
        array_agg(row(d.id, 'spend', p_at, s.usage, s.cost, true, NULL, '', s.agent, s.user_id, d.surface,
            d.feature)::tollgate.used ORDER BY s.n) FILTER (WHERE s.usage IS NOT NULL),
        array_agg(d.id ORDER BY s.n)
    INTO spent, used, ids FROM s JOIN d ON d.id = s.id;
    PERFORM tollgate.record(VARIADIC spent);
    IF used IS NOT NULL THEN
        PERFORM tollgate.record_usage(used);
    END IF;
    -- The day as it was after this one: without what those after it have spent.
    SELECT array_agg(row((t.who).lineage, (t.ask).key, (t.ask).fingerprint, t.body)::tollgate.kept),
        array_agg(tollgate.answer_json((t.ask).n, tollgate.granted(200, t.body, NULL, (t.ask).cost, false)))
    INTO kept, answers FROM (
        SELECT c.ask, c.who, json_build_object('spendId', c.id, 'costUsd', tollgate.usd((c.ask).cost), 'day',
            tollgate.day_figures_v1(p_at, coalesce(sum((c.ask).cost) OVER (ORDER BY (c.ask).n
                ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING), 0)))::text AS body
        FROM ROWS FROM (unnest(p_clear), unnest(ids)) AS c (ask, who, run, counters, id)) t;
    PERFORM tollgate.keep_answers('spend', p_at, VARIADIC kept);
    RETURN answers;
END $$;

-- Which calls are clear at that moment; and, made on the way, the counters that they add to.
CREATE OR REPLACE FUNCTION tollgate.clear_spending(p_asks tollgate.ask[], p_at timestamptz)
RETURNS tollgate.clear_ask[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    book bigint := (SELECT version FROM public.price_book_version);
    over numeric := (SELECT alert_over_usd FROM public.cost_rules);
    -- (A breaker that is open opens no more.)
    may_open boolean := NOT EXISTS (SELECT FROM public.circuit_breakers c WHERE c.scope = 'global' AND c.state <> 'closed');
    day_key text := tollgate.counter_key('global', '', 'day', tollgate.begins('day', p_at));
    clear tollgate.clear_ask[];
    missing tollgate.counter[];
    due bigint[];
    addresses inet[];
BEGIN
    PERFORM tollgate.make_counters(ARRAY[row('global', '', 'day', tollgate.begins('day', p_at))::tollgate.counter]);
    LOOP
        WITH judged AS MATERIALIZED (SELECT * FROM tollgate.bearers_of(p_asks, '{start}', '*')),
        -- `fit`: for being clear, if its limits are. All others may be recorded too, and count.
        asked AS MATERIALIZED (
            SELECT q, q.n, q.cost, q.tokens, j.b AS who,
                tollgate.facts_of_call(j.b, q.agent, q.user_id, q.surface, q.feature, q.model, q.address) AS facts,
                q.cost BETWEEN 0 AND 1000000 AND q.cost <= over AND q.tokens >= 0
                    AND NOT tollgate.over_ceiling(q.cost, j.b)
                    AND (q.book_version IS NULL OR q.book_version = book)
                    AND (q.key = '' OR (NOT EXISTS (SELECT FROM unnest(p_asks) o
                            JOIN judged oj ON oj.digest = o.digest AND oj.address IS NOT DISTINCT FROM o.address
                            WHERE o.key = q.key AND o.n < q.n AND (oj.b).lineage = (j.b).lineage)
                        AND NOT EXISTS (SELECT FROM public.idempotency_records i
                            WHERE i.token_id = (j.b).lineage AND i.endpoint = 'spend' AND i.key = q.key
                                AND i.created_at > p_at - interval '48 hours'))) AS fit
            FROM unnest(p_asks) q
            JOIN judged j ON j.digest = q.digest AND j.address IS NOT DISTINCT FROM q.address
            WHERE (j.b).refusal = '' AND q.cost IS NOT NULL),
        kinds AS MATERIALIZED (
            SELECT a.facts, count(*) AS calls, sum(greatest(a.cost, 0)) AS usd, sum(greatest(a.tokens, 0)) AS tokens,
                bool_or(a.fit) AS fit
            FROM asked a GROUP BY a.facts),
        ways AS MATERIALIZED (
            SELECT k.facts, k.fit, c, sum(CASE WHEN c.measure IN ('usd', 'tokens')
                THEN tollgate.measured(c.measure, k.usd, k.tokens::bigint) ELSE k.calls END)
                OVER (PARTITION BY c.check_name, c.budget_id, c.subject, c.win, c.measure) AS more
            FROM kinds k CROSS JOIN LATERAL tollgate.charges(k.facts, p_at, false) c WHERE c.win <> 'open'),
        room AS MATERIALIZED (
            SELECT w.facts, array_agg(DISTINCT (w.c).counter_id) AS counters,
                NOT bool_or(tollgate.crosses(w.c, w.more)
                    OR ((w.c).check_name = 'breaker_minute' AND may_open AND (w.c).used + w.more > (w.c).amount)
                    OR ((w.c).check_name = 'feature_cost' AND (w.c).used + w.more >= (w.c).amount
                        AND (SELECT f.enabled FROM public.feature_flags f WHERE f.feature = (w.c).subject)))
                    AS untouched
            FROM ways w GROUP BY w.facts)
        SELECT (SELECT array_agg(row((w.c).scope, (w.c).subject, (w.c).win, (w.c).starts_at)::tollgate.counter) FROM ways w
             WHERE w.fit AND (w.c).counter_id IS NULL),
            (SELECT array_agg((j.b).token_id ORDER BY j.n) FROM judged j
             WHERE (j.b).refusal = '' AND (j.b).use_due),
            (SELECT array_agg(j.address ORDER BY j.n) FROM judged j WHERE (j.b).refusal = '' AND (j.b).use_due),
            (SELECT array_agg(row(a.q, a.who, NULL, (SELECT array_agg(DISTINCT x)
                FROM unnest(k.id || coalesce(r.counters, '{}')) x))::tollgate.clear_ask ORDER BY a.n)
             FROM asked a LEFT JOIN room r ON r.facts = a.facts
             CROSS JOIN (SELECT c.id FROM public.counters c WHERE c.key = day_key) k
             WHERE a.fit AND coalesce(r.untouched, true))
        INTO missing, due, addresses, clear;
        EXIT WHEN missing IS NULL;
        PERFORM tollgate.make_counters(missing);
    END LOOP;
    IF due IS NOT NULL THEN
        PERFORM tollgate.note_token_use_v1(u.token, u.address) FROM unnest(due, addresses) u (token, address);
    END IF;
    RETURN clear;
END $$;

-- Decides the elements of `p_asks`, all of them direct spend. The results are as of tollgate.settle_batch_v1.
CREATE OR REPLACE FUNCTION tollgate.spend_batch_v1(p_asks tollgate.ask[], OUT answers text[], OUT flush boolean)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET enable_bitmapscan TO off SET jit TO off AS $$
DECLARE
    at timestamptz;
    clear tollgate.clear_ask[];
BEGIN
    PERFORM tollgate.hold_counters();
    at := tollgate.now();
    IF cardinality(p_asks) > 1 THEN   -- one that is alone is cheaper by itself
        BEGIN
            clear := tollgate.clear_spending(p_asks, at);
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'direct spend of a batch, one by one: % (%)', SQLERRM, SQLSTATE;
        END;
    END IF;
    SELECT t.* INTO answers, flush
    FROM tollgate.take_turns(p_asks, clear, ARRAY(SELECT q.n FROM unnest(p_asks) q), NULL, at) t;
END $$;
