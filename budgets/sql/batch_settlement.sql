-- Finishes of a batch. The result is that of deciding them one by one, in the order of `n`. Clear ones change
-- nothing that the decision of another run reads, but the sums that they add to, so those that follow each
-- other are settled together: one statement for counters, runs and events, and the statistics of a work
-- order once. The others are decided one by one, each in a block of its own (docs/locking.md).

-- Settles runs that are clear, and returns the answers. The caller has locked the runs and the counters, and has
-- judged the tokens.
CREATE OR REPLACE FUNCTION tollgate.settle_clear(
    p_asks tollgate.ask[], p_runs public.work_order_runs[], p_clear integer[], p_actors text[]
) RETURNS text[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    ended integer[];
    evidence text[];
    used tollgate.used[];
    answers text[];
BEGIN
    -- Each has a reading of the clock of its own, in their order, as one by one.
    WITH f AS MATERIALIZED (
        SELECT q.n, q.status, q.cost::numeric(18, 9) AS paid, q.cost AS given, q.usage,
            coalesce(q.tokens, r.reserved_tokens) AS used, q.fingerprint, q.request_id, c.actor,
            r.id, r.wo_id, r.agent_name, r.user_id, r.surface, r.feature, r.reserved_usd, r.reserved_tokens,
            coalesce(r.tokens, 0) AS had, r.charged_to, tollgate.now() AS at
        FROM unnest(p_clear, p_actors) c (n, actor) JOIN unnest(p_asks) q ON q.n = c.n
        JOIN unnest(p_runs) r ON r.id = q.run
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
        RETURNING f.n, r),
    events AS (
        INSERT INTO public.operations_events
            (kind, message, owner_type, owner_id, owner_label, actor, meta, request_id)
        SELECT 'RUN_FINISHED', format('Run of %s ended with %s at $%s', f.agent_name, f.status,
                tollgate.usd(f.paid)), 'work_order', f.wo_id,
            (SELECT title FROM public.work_orders o WHERE o.id = f.wo_id), f.actor,
            jsonb_build_object('woId', f.wo_id, 'runId', f.id, 'agentName', f.agent_name, 'status', f.status,
                'reservedUsd', tollgate.usd(f.reserved_usd), 'costUsd', tollgate.usd(f.paid), 'costNote', '',
                'expiredCostUsd', NULL), f.request_id
        FROM f ORDER BY f.n)
    SELECT (SELECT array_agg(DISTINCT f.wo_id) FROM f WHERE f.status IN ('success', 'error')),
        (SELECT array_agg(row(f.id, 'run', f.at, f.usage, f.given, f.status <> 'error', f.id, f.wo_id,
            f.agent_name, f.user_id, f.surface, f.feature)::tollgate.used ORDER BY f.n)
         FROM f WHERE f.usage IS NOT NULL),
        array_agg(s.n), array_agg(tollgate.answer_json(s.n, row(200, '', NULL, NULL, NULL, false,
            tollgate.finished_body(s.r), (s.r).reserved_usd, (s.r).cost, false)::tollgate.answer))
    INTO evidence, used, ended, answers FROM settled s;
    IF NOT ended @> p_clear THEN
        RAISE EXCEPTION 'not all runs were settled';
    END IF;
    IF used IS NOT NULL THEN
        PERFORM tollgate.record_usage(used);
    END IF;
    IF evidence IS NOT NULL THEN
        PERFORM tollgate.renew_statistics(evidence);
    END IF;
    RETURN answers;
END $$;

-- One finish by itself, whatever it comes to: a failure hands it back, with nothing written.
CREATE OR REPLACE FUNCTION tollgate.finish_alone(q tollgate.ask) RETURNS tollgate.answer
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN tollgate.finish_run_v1(q.digest, q.address, q.run, q.status, q.cost, q.usage, q.tokens,
        q.book_version, q.fingerprint, q.request_id);
EXCEPTION WHEN OTHERS THEN
    RETURN tollgate.refusal(0, 'alone', SQLSTATE);
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
    probing public.circuit_breakers[];
    risky text[];       -- work orders whose breaker so many errors may open
    book bigint := (SELECT version FROM public.price_book_version);
    clear integer[];
    actors text[];
    settling integer[]; -- those that may settle a run, and are not clear
    due bigint[];       -- tokens whose use is to be noted
    addresses inet[];
    step record;
    done integer := -1;
    blocked boolean := false;   -- somebody would have to be waited for: not once for each
    part integer[];
    names text[];
    q tollgate.ask;
    a tollgate.answer;
BEGIN
    answers := '{}';
    flush := false;
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
        SELECT array_agg(c) INTO probing FROM public.circuit_breakers c WHERE c.probe_run_id IS NOT NULL;
        SELECT array_agg(e.wo_id) INTO risky FROM (
            SELECT r.wo_id, count(*) AS errors FROM unnest(p_asks) f JOIN unnest(runs) r ON r.id = f.run
            WHERE f.status = 'error' GROUP BY r.wo_id OFFSET 0) e
        WHERE tollgate.may_trip(e.wo_id, e.errors, tollgate.now());
        WITH asked AS MATERIALIZED (
            SELECT f.*, row_number() OVER (PARTITION BY f.run ORDER BY f.n) AS turn
            FROM unnest(p_asks) f),
        judged AS MATERIALIZED (
            SELECT t.digest, t.address, t.n, b FROM (
                SELECT f.digest, f.address, min(f.n) AS n FROM asked f GROUP BY f.digest, f.address) t
            CROSS JOIN LATERAL tollgate.bearer_v1(t.digest, t.address, '{start,admin}', '') b),
        sorted AS (
            SELECT f.n, f.run, (j.b).actor, r.status, coalesce(
                f.turn = 1 AND r.status = 'running' AND (j.b).refusal = '' AND f.fingerprint IS NOT NULL
                AND f.status IN ('success', 'error', 'cancelled')
                AND f.cost BETWEEN 0 AND 1000000 AND f.cost <= r.reserved_usd
                AND (f.cost <= (j.b).max_run_usd OR 'admin' = ANY ((j.b).scopes))
                AND (f.book_version IS NULL OR f.book_version = book)
                AND (cardinality((j.b).work_orders) = 0 OR r.wo_id = ANY ((j.b).work_orders))
                AND (r.token_id = (j.b).token_id OR 'admin' = ANY ((j.b).scopes)
                    OR tollgate.is_of_line(r.token_id, j.b))
                AND NOT (f.status = 'error' AND r.wo_id = ANY (coalesce(risky, '{}')))
                AND NOT EXISTS (SELECT FROM public.run_charges x WHERE x.run_id = r.id)
                -- A probe decides, and so does a success since the breaker is half-open.
                AND NOT EXISTS (SELECT FROM unnest(probing) c WHERE c.probe_run_id = r.id
                    OR (f.status = 'success' AND r.started_at >= c.changed_at
                        AND (c.scope = 'global' OR c.subject = r.wo_id))), false) AS clear
            FROM asked f JOIN judged j ON j.digest = f.digest AND j.address IS NOT DISTINCT FROM f.address
            LEFT JOIN unnest(runs) r ON r.id = f.run)
        SELECT array_agg(s.n ORDER BY s.n) FILTER (WHERE s.clear),
            array_agg(s.actor ORDER BY s.n) FILTER (WHERE s.clear), array_agg(s.n) FILTER (WHERE s.settles),
            (SELECT array_agg((j.b).token_id ORDER BY j.n) FROM judged j WHERE (j.b).refusal = '' AND (j.b).use_due),
            (SELECT array_agg(j.address ORDER BY j.n) FROM judged j WHERE (j.b).refusal = '' AND (j.b).use_due)
        INTO clear, actors, settling, due, addresses FROM (
            -- (Of a run that is clear the first settles; whoever comes after it is answered by what it did.)
            SELECT t.*, t.status IN ('running', 'expired') AND NOT bool_or(t.clear) OVER (PARTITION BY t.run) AS settles
            FROM sorted t) s;
    END IF;
    IF due IS NOT NULL THEN
        PERFORM tollgate.note_token_use_v1(u.token, u.address) FROM unnest(due, addresses) u (token, address);
    END IF;
    -- Those that settle, in order, each after the clear ones before it; then the other clear ones; then those
    -- that settle nothing.
    FOR step IN
        SELECT f AS ask, CASE WHEN f.n = ANY (settling) THEN f.n ELSE 2147483647 END AS upto, f.n
        FROM unnest(p_asks) f WHERE NOT f.n = ANY (coalesce(clear, '{}'))
        UNION ALL SELECT NULL, 2147483647, -1
        ORDER BY upto, n
    LOOP
        SELECT array_agg(c.n), array_agg(c.actor) INTO part, names FROM unnest(clear, actors) c (n, actor)
        WHERE c.n > done AND c.n < step.upto;
        done := step.upto;
        IF part IS NOT NULL THEN
            BEGIN
                answers := answers || tollgate.settle_clear(p_asks, runs, part, names);
                flush := true;
            EXCEPTION WHEN OTHERS THEN
                RAISE WARNING 'finishes of a batch, one by one: % (%)', SQLERRM, SQLSTATE;
                blocked := blocked OR SQLSTATE = '55P03';
                -- One of them cannot be written. By themselves it is that one alone.
                FOR q IN SELECT f.* FROM unnest(p_asks) f WHERE f.n = ANY (part) ORDER BY f.n LOOP
                    IF blocked THEN
                        a := tollgate.refusal(0, 'alone', '55P03');
                    ELSE
                        a := tollgate.finish_alone(q);
                    END IF;
                    answers := answers || tollgate.answer_json(q.n, a);
                    flush := flush OR a.status = 200 OR coalesce(a.alerted, false);
                END LOOP;
            END;
        END IF;
        CONTINUE WHEN step.n < 0;
        q := step.ask;
        IF blocked OR q.run = ANY (busy) THEN
            a := tollgate.refusal(0, 'alone', '');
        ELSE
            a := tollgate.finish_alone(q);
        END IF;
        blocked := blocked OR coalesce(a.status = 0 AND a.error = '55P03', false);
        answers := answers || tollgate.answer_json(q.n, a);
        flush := flush OR a.status = 200 OR coalesce(a.alerted, false);
    END LOOP;
END $$;
