-- Many asks, one decision: everything that is waiting is decided by one call, which pays once for the lock,
-- the clock, the reads and the flush. Each ask is answered as if it had come alone. Finishes come first
-- (batch_settlement.sql), since they make room, then direct spend (batch_spending.sql), then starts
-- (batch_starts.sql); each in order of arrival.
--
-- A batch waits for nothing but the lock of the counters, so an ask that would have to wait for its work
-- order or its run, and one that fails, is handed back to be asked alone (status 0, denial 'alone').
-- Nothing of it has been written then.

-- One element of `p_asks`, by the names of the parameters of its routine (budgets/admission/batches.py).
CREATE TYPE tollgate.ask AS (
    n integer,          -- its place in the batch, which its answer names
    op text,            -- start, finish or spend
    digest bytea, address inet, request_id text, book_version bigint, fingerprint bytea, tokens bigint,
    usage jsonb, sent_as jsonb, key text, model text, user_id text, surface text, feature text, agent text,
    wo text, estimate numeric, priced boolean, lease integer, tier text, confirm boolean,   -- start
    run uuid, status text, cost numeric   -- finish; spend has a cost too
);

CREATE OR REPLACE FUNCTION tollgate.answer_json(n integer, a tollgate.answer) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT json_build_object('n', n, 'status', a.status, 'denial', coalesce(a.denial, ''),
        'error', coalesce(a.error, ''), 'retryAfter', a.retry_after, 'resetAt', tollgate.rfc3339(a.reset_at),
        'replayed', coalesce(a.replayed, false), 'body', a.body::json, 'reservedUsd', a.reserved_usd,
        'settledUsd', a.settled_usd, 'alerted', coalesce(a.alerted, false))::text
$$;

-- One by itself, whatever it comes to: a failure hands it back, with nothing written. The settings: of a start.
CREATE OR REPLACE FUNCTION tollgate.decide_alone(
    q tollgate.ask, p_retry_after integer, p_lift boolean, p_confirm_over numeric, p_refusal_events integer
) RETURNS tollgate.answer LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF q.op = 'start' THEN
        RETURN tollgate.start_run_v1(q.digest, q.address, q.wo, q.agent, q.estimate, q.priced,
                q.book_version, q.lease, q.tokens, q.model, q.tier, q.user_id, q.surface, q.feature, false,
                q.confirm, q.key, q.fingerprint, q.request_id, q.sent_as, p_retry_after, p_lift,
                p_confirm_over, p_refusal_events);
    ELSIF q.op = 'finish' THEN
        RETURN tollgate.finish_run_v1(q.digest, q.address, q.run, q.status, q.cost, q.usage, q.tokens,
                q.book_version, q.fingerprint, q.request_id);
    ELSE
        RETURN tollgate.spend_run_v1(q.digest, q.address, q.cost, q.tokens, q.usage, q.book_version, q.model,
                q.user_id, q.surface, q.feature, q.agent, q.key, q.fingerprint, q.request_id, q.sent_as);
    END IF;
EXCEPTION WHEN OTHERS THEN
    RETURN tollgate.refusal(0, 'alone', SQLSTATE);
END $$;

-- A finish or a call that is clear: who reports it, the run or the counters that it changes.
CREATE TYPE tollgate.clear_ask AS (
    ask tollgate.ask, who tollgate.bearer, run public.work_order_runs, counters bigint[]
);

-- Who asks, each once.
CREATE OR REPLACE FUNCTION tollgate.bearers_of(p_asks tollgate.ask[], p_scopes text[], p_work_order text)
RETURNS TABLE (digest bytea, address inet, n integer, b tollgate.bearer) LANGUAGE sql STABLE AS $$
    SELECT t.digest, t.address, t.n, b FROM (
        SELECT q.digest, q.address, min(q.n) AS n FROM unnest(p_asks) q GROUP BY q.digest, q.address) t
    CROSS JOIN LATERAL tollgate.bearer_v1(t.digest, t.address, p_scopes, p_work_order) b
$$;

-- Decides finishes, or direct spend: the clear ones that follow each other together. Of the others, those that are
-- `p_settling` keep their turn, each after the clear ones before it; the rest comes last. `p_busy`: runs that another
-- transaction holds.
CREATE OR REPLACE FUNCTION tollgate.take_turns(
    p_asks tollgate.ask[], p_clear tollgate.clear_ask[], p_settling integer[], p_busy uuid[], p_at timestamptz,
    OUT answers text[], OUT flush boolean
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    last constant integer := 2147483647;
    step record;
    part tollgate.clear_ask[];
    singles tollgate.ask[];
    q tollgate.ask;
    a tollgate.answer;
    done integer := -1;
    blocked boolean := false;   -- somebody would have to be waited for: not once for each
BEGIN
    answers := '{}';
    flush := false;
    FOR step IN
        SELECT x AS ask, CASE WHEN x.n = ANY (p_settling) THEN x.n ELSE last END AS upto, x.n FROM unnest(p_asks) x
        WHERE NOT x.n = ANY (ARRAY(SELECT (c.ask).n FROM unnest(p_clear) c))
        UNION ALL SELECT NULL, last, -1
        ORDER BY upto, n
    LOOP
        SELECT array_agg(c ORDER BY (c.ask).n) INTO part FROM unnest(p_clear) c
        WHERE (c.ask).n > done AND (c.ask).n < step.upto;
        done := step.upto;
        singles := CASE WHEN step.n >= 0 THEN ARRAY[step.ask::tollgate.ask] ELSE '{}' END;
        IF part IS NOT NULL THEN
            BEGIN
                answers := answers || CASE (part[1].ask).op WHEN 'finish' THEN tollgate.settle_clear(part)
                    ELSE tollgate.spend_clear(part, p_at) END;
                flush := true;
            EXCEPTION WHEN OTHERS THEN
                -- One of them cannot be written. By themselves it is that one alone.
                RAISE WARNING '% of a batch, one by one: % (%)',
                    CASE (part[1].ask).op WHEN 'finish' THEN 'finishes' ELSE 'direct spend' END, SQLERRM, SQLSTATE;
                blocked := blocked OR SQLSTATE = '55P03';
                singles := ARRAY(SELECT c.ask FROM unnest(part) c) || singles;
            END;
        END IF;
        FOREACH q IN ARRAY singles LOOP
            IF blocked OR coalesce(q.run = ANY (p_busy), false) THEN
                a := tollgate.refusal(0, 'alone', '');
            ELSE
                a := tollgate.decide_alone(q, NULL, NULL, NULL, NULL);
            END IF;
            blocked := blocked OR coalesce(a.status = 0 AND a.error = '55P03', false);
            answers := answers || tollgate.answer_json(q.n, a);
            flush := flush OR a.status = 200 OR coalesce(a.alerted, false);
        END LOOP;
    END LOOP;
END $$;

-- `answers`: a JSON array of what tollgate.answer_json makes. `flush`: something was granted.
CREATE OR REPLACE FUNCTION tollgate.decide_run_v1(
    p_asks json, p_retry_after integer, p_lift boolean, p_confirm_over numeric, p_refusal_events integer,
    OUT answers text, OUT flush boolean
) LANGUAGE plpgsql VOLATILE
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET enable_bitmapscan TO off SET jit TO off AS $$
DECLARE
    finishes tollgate.ask[];
    calls tollgate.ask[];
    starts tollgate.ask[];
    decided record;
    parts text[] := '{}'::text[];
BEGIN
    flush := false;
    SELECT array_agg(x ORDER BY x.n) FILTER (WHERE x.op = 'finish'),
        array_agg(x ORDER BY x.n) FILTER (WHERE x.op = 'spend'),
        array_agg(x ORDER BY x.n) FILTER (WHERE x.op = 'start')
    INTO finishes, calls, starts FROM json_populate_recordset(NULL::tollgate.ask, p_asks) x;
    IF finishes IS NOT NULL THEN
        SELECT s.* INTO decided FROM tollgate.settle_batch_v1(finishes) s;
        flush := decided.flush;
        parts := decided.answers;
    END IF;
    IF calls IS NOT NULL THEN
        SELECT s.* INTO decided FROM tollgate.spend_batch_v1(calls) s;
        flush := flush OR decided.flush;
        parts := parts || decided.answers;
    END IF;
    IF starts IS NOT NULL THEN
        SELECT s.* INTO decided FROM tollgate.decide_starts(starts, p_retry_after, p_lift, p_confirm_over,
            p_refusal_events) s;
        flush := flush OR decided.flush;
        parts := parts || decided.answers;
    END IF;
    answers := '[' || array_to_string(parts, ',') || ']';
END $$;

CREATE OR REPLACE PROCEDURE tollgate.decide_v1(
    p_asks json, p_retry_after integer, p_lift boolean, p_confirm_over numeric, p_refusal_events integer,
    INOUT answers text
) LANGUAGE plpgsql AS $$
DECLARE
    flush boolean;
BEGIN
    SELECT d.answers, d.flush INTO answers, flush
    FROM tollgate.decide_run_v1(p_asks, p_retry_after, p_lift, p_confirm_over, p_refusal_events) d;
    CALL tollgate.commit(flush);
END $$;
