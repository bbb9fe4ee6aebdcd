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
