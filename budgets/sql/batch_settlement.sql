-- Finishes of a batch. The result is that of deciding them one by one, in the order of `n`. Clear ones change
-- nothing that the decision of another run reads, but the sums that they add to, so those that follow each
-- other are settled together: one statement for counters, runs and events, and the statistics of a work
-- order once. The others are decided one by one, each in a block of its own (docs/locking.md).

-- Settles runs that are clear, and returns the answers. The caller has locked the runs and the counters, and has
-- judged the tokens.
CREATE OR REPLACE FUNCTION tollgate.settle_clear(p_clear tollgate.clear_ask[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    ended tollgate.event[];
    evidence text[];
    used tollgate.used[];
    answers text[];
BEGIN
    -- Each has a reading of the clock of its own, in their order, as one by one.
    WITH f AS MATERIALIZED (
        SELECT q.n, q.status, q.cost::numeric(18, 9) AS paid, q.cost AS given, q.usage,
            coalesce(q.tokens, r.reserved_tokens) AS used, q.fingerprint, q.request_id, (c.who).actor, c.run,
            r.id, r.wo_id, r.reserved_usd, r.reserved_tokens, coalesce(r.tokens, 0) AS had, r.charged_to,
            tollgate.now() AS at
        FROM unnest(p_clear) c CROSS JOIN LATERAL (SELECT (c.ask).*) q CROSS JOIN LATERAL (SELECT (c.run).*) r
        ORDER BY q.n),
    sums AS MATERIALIZED (
        SELECT k.id, count(*) AS runs, sum(f.reserved_usd) AS reserved, sum(f.paid) AS settled,
            sum(f.reserved_tokens) AS held, sum(f.used - f.had) AS used
        FROM f CROSS JOIN LATERAL unnest(f.charged_to) k (id) GROUP BY k.id),
    -- (By a list of ids, so that whatever the planner knows it looks up exactly these.)
    counted AS (
        UPDATE public.counters k SET open_runs = k.open_runs - s.runs, reserved_usd = k.reserved_usd - s.reserved,
            settled_usd = k.settled_usd + s.settled, reserved_tokens = k.reserved_tokens - s.held,
            settled_tokens = k.settled_tokens + s.used
        FROM sums s WHERE k.id = s.id AND k.id = ANY (ARRAY(SELECT x.id FROM sums x))),
    settled AS (
        UPDATE public.work_order_runs r SET status = f.status, cost = f.paid, cost_note = '', usage = f.usage,
            tokens = f.used, finished_at = f.at, finish_fingerprint = f.fingerprint
        FROM f WHERE r.id = f.id AND r.id = ANY (ARRAY(SELECT x.id FROM f x))
        RETURNING f.n, f.given, f.actor, f.request_id, r)
    SELECT array_agg(DISTINCT (s.r).wo_id) FILTER (WHERE (s.r).status IN ('success', 'error')),
        array_agg(row((s.r).id, 'run', (s.r).finished_at, (s.r).usage, s.given, (s.r).status <> 'error', (s.r).id,
            (s.r).wo_id, (s.r).agent_name, (s.r).user_id, (s.r).surface, (s.r).feature)::tollgate.used ORDER BY s.n)
            FILTER (WHERE (s.r).usage IS NOT NULL),
        array_agg(tollgate.finish_event(s.r, (SELECT o.title FROM public.work_orders o WHERE o.id = (s.r).wo_id), s.actor,
            s.request_id, false, NULL) ORDER BY s.n),
        array_agg(tollgate.answer_json(s.n, tollgate.granted(200, tollgate.finished_body(s.r), (s.r).reserved_usd,
            (s.r).cost, false)))
    INTO evidence, used, ended, answers FROM settled s;
    IF cardinality(ended) < cardinality(p_clear) THEN
        RAISE EXCEPTION 'not all runs were settled';
    END IF;
    PERFORM tollgate.record(VARIADIC ended);
    IF used IS NOT NULL THEN
        PERFORM tollgate.record_usage(used);
    END IF;
    IF evidence IS NOT NULL THEN
        PERFORM tollgate.renew_statistics(evidence);
    END IF;
    RETURN answers;
END $$;

-- Which finishes of `p_runs`, which the caller has locked, are clear; and `settling`: those that may settle a run, and
-- are not.
CREATE OR REPLACE FUNCTION tollgate.clear_finishes(
    p_asks tollgate.ask[], p_runs public.work_order_runs[], OUT clear tollgate.clear_ask[], OUT settling integer[]
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    probing public.circuit_breakers[];
    risky text[];       -- work orders whose breaker so many errors may open
    book bigint := (SELECT version FROM public.price_book_version);
    due bigint[];       -- tokens whose use is to be noted
    addresses inet[];
BEGIN
    SELECT array_agg(c) INTO probing FROM public.circuit_breakers c WHERE c.probe_run_id IS NOT NULL;
    SELECT array_agg(e.wo_id) INTO risky FROM (
        SELECT r.wo_id, count(*) AS errors FROM unnest(p_asks) f JOIN unnest(p_runs) r ON r.id = f.run
        WHERE f.status = 'error' GROUP BY r.wo_id OFFSET 0) e
    WHERE tollgate.may_trip(e.wo_id, e.errors, tollgate.now());
    WITH asked AS MATERIALIZED (
        SELECT q, q.*, row_number() OVER (PARTITION BY q.run ORDER BY q.n) AS turn FROM unnest(p_asks) q),
    judged AS MATERIALIZED (SELECT * FROM tollgate.bearers_of(p_asks, '{start,admin}', '')),
    sorted AS (
        SELECT f.n, f.run, r.status, row(f.q, j.b, r, NULL)::tollgate.clear_ask AS whole, coalesce(
            f.turn = 1 AND r.status = 'running' AND (j.b).refusal = '' AND f.fingerprint IS NOT NULL
            AND f.status IN ('success', 'error', 'cancelled')
            AND f.cost BETWEEN 0 AND 1000000 AND f.cost <= r.reserved_usd
            AND NOT tollgate.over_ceiling(f.cost, j.b)
            AND (f.book_version IS NULL OR f.book_version = book)
            AND tollgate.is_reachable(r.token_id, r.wo_id, j.b)
            AND NOT (f.status = 'error' AND r.wo_id = ANY (coalesce(risky, '{}')))
            AND NOT EXISTS (SELECT FROM public.run_charges x WHERE x.run_id = r.id)
            -- A probe decides, and so does a success since the breaker is half-open.
            AND NOT EXISTS (SELECT FROM unnest(probing) c WHERE c.probe_run_id = r.id
                OR (f.status = 'success' AND r.started_at >= c.changed_at
                    AND (c.scope = 'global' OR c.subject = r.wo_id))), false) AS clear
        FROM asked f JOIN judged j ON j.digest = f.digest AND j.address IS NOT DISTINCT FROM f.address
        LEFT JOIN unnest(p_runs) r ON r.id = f.run)
    SELECT array_agg(s.whole ORDER BY s.n) FILTER (WHERE s.clear), array_agg(s.n) FILTER (WHERE s.settles),
        (SELECT array_agg((j.b).token_id ORDER BY j.n) FROM judged j WHERE (j.b).refusal = '' AND (j.b).use_due),
        (SELECT array_agg(j.address ORDER BY j.n) FROM judged j WHERE (j.b).refusal = '' AND (j.b).use_due)
    INTO clear, settling, due, addresses FROM (
        -- (Of a run that is clear the first settles; whoever comes after it is answered by what it did.)
        SELECT t.*, t.status IN ('running', 'expired') AND NOT bool_or(t.clear) OVER (PARTITION BY t.run) AS settles
        FROM sorted t) s;
    IF due IS NOT NULL THEN
        PERFORM tollgate.note_token_use_v1(u.token, u.address) FROM unnest(due, addresses) u (token, address);
    END IF;
END $$;

-- Decides the elements of `p_asks`, all of them finishes. `answers`: what tollgate.answer_json makes of each.
-- `flush`: something was settled. With the owner's rights, as tollgate.finish_run_v1, so tokens and costs are
-- judged here.
CREATE OR REPLACE FUNCTION tollgate.settle_batch_v1(p_asks tollgate.ask[], OUT answers text[], OUT flush boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET enable_bitmapscan TO off SET jit TO off AS $$
DECLARE
    runs public.work_order_runs[];
    busy uuid[];        -- runs that another transaction holds
    clear tollgate.clear_ask[];
    settling integer[];
BEGIN
    -- (It runs with the owner's rights: what is judged of one is settled of none but that one.)
    IF (SELECT count(DISTINCT f.n) FROM unnest(p_asks) f) < cardinality(p_asks) THEN
        RAISE EXCEPTION 'each ask has a number of its own' USING ERRCODE = 'check_violation';
    END IF;
    -- Runs before counters. None is waited for: whoever holds one may want the counters.
    PERFORM tollgate.share_limits();
    SELECT array_agg(x) INTO runs FROM (
        SELECT r FROM public.work_order_runs r
        WHERE r.id = ANY (ARRAY(SELECT f.run FROM unnest(p_asks) f))
        ORDER BY r.id FOR UPDATE SKIP LOCKED) y (x);
    SELECT array_agg(r.id) INTO busy FROM public.work_order_runs r
    WHERE r.id = ANY (ARRAY(SELECT f.run FROM unnest(p_asks) f
        EXCEPT SELECT x.id FROM unnest(runs) x));
    PERFORM tollgate.hold_counters();
    IF cardinality(p_asks) > 1 THEN   -- one that is alone is cheaper by itself
        SELECT c.* INTO clear, settling FROM tollgate.clear_finishes(p_asks, runs) c;
    END IF;
    SELECT t.* INTO answers, flush FROM tollgate.take_turns(p_asks, clear, coalesce(settling, '{}'), busy, NULL) t;
END $$;
