-- How a run ends: reported by its client (finish), or by the end of its lease (reap). With the owner's
-- rights, because the application's role cannot change a run or what was charged for it
-- (opslog/database/roles.py): what is not a settlement is refused.

-- For each of these work orders: median and 95th percentile of its last 100 runs that are evidence of what
-- a run costs. An error at no cost, an unpriced run and a cost that was corrected away are none, and neither
-- is what a clock that was ahead has dated later than now. Of the last 1000 that ended, so that a work
-- order that only fails does not make each settlement read all its history.
CREATE OR REPLACE FUNCTION tollgate.renew_statistics(p_wos text[]) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    at timestamptz := tollgate.now();
    known text[];
BEGIN
    WITH renewed AS (
        INSERT INTO public.cost_statistics (wo_id, settled_runs, successful_runs, median_usd, p95_usd, p95_tokens)
        SELECT w.id, e.* FROM (SELECT DISTINCT unnest(p_wos) AS id) w CROSS JOIN LATERAL (
            SELECT count(*), count(*) FILTER (WHERE recent.status = 'success'),
                (percentile_disc(0.5) WITHIN GROUP (ORDER BY recent.cost)),
                (percentile_disc(0.95) WITHIN GROUP (ORDER BY recent.cost)),
                (percentile_disc(0.95) WITHIN GROUP (ORDER BY coalesce(recent.tokens, 0)))
            FROM (
                SELECT * FROM (SELECT s.cost, s.tokens, s.status, s.cost_note FROM public.work_order_runs s
                    WHERE s.wo_id = w.id AND s.status IN ('success', 'error') AND s.finished_at <= at
                    ORDER BY s.finished_at DESC LIMIT 1000) ended
                WHERE ended.cost_note <> 'unpriced'
                    AND (ended.cost > 0 OR (ended.status = 'success' AND ended.cost_note <> 'corrected'))
                LIMIT 100) recent
            HAVING count(*) > 0) e
        ON CONFLICT (wo_id) DO UPDATE SET settled_runs = excluded.settled_runs,
            successful_runs = excluded.successful_runs, median_usd = excluded.median_usd,
            p95_usd = excluded.p95_usd, p95_tokens = excluded.p95_tokens
        RETURNING wo_id)
    SELECT coalesce(array_agg(wo_id), '{}') INTO known FROM renewed;
    IF NOT known @> p_wos THEN
        DELETE FROM public.cost_statistics WHERE wo_id = ANY (p_wos) AND NOT wo_id = ANY (known);
    END IF;
END $$;

-- What a run reserves where its caller names no amount: what runs have cost of late, and never less
-- than the floor, a share of the day's cap (or the amount of `cost_rules`), until enough of them have
-- succeeded. It is never zero. All in dollars; `p95`, `successes` null: nothing is known.
CREATE OR REPLACE FUNCTION tollgate.default_usd(
    p95 numeric, successes integer, floor_usd numeric, floor_runs integer, runs_per_day integer,
    usd_per_day numeric
) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN successes >= floor_runs AND p95 > 0 THEN p95
        ELSE greatest(p95, least(coalesce(floor_usd, trunc(usd_per_day / runs_per_day, 9)), usd_per_day),
            0.000000001) END
$$;

-- A cost far above what was reserved, or over what the token may report: counted or not, people are
-- alerted at once, once for each run or call. `p_reserved` null: of direct spend, which reserves nothing.
CREATE OR REPLACE FUNCTION tollgate.alert_cost(
    p_of text, p_id uuid, p_agent text, p_cost numeric, p_reserved numeric, p_token bigint,
    p_refused boolean, p_at timestamptz
) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    about record;
    what text := CASE p_of WHEN 'run' THEN format('Run %s of %s', p_id, p_agent) ELSE 'Direct spend' END;
BEGIN
    SELECT t.id, t.name, t.prefix, t.max_run_usd, u.username, c.alert_times, c.alert_over_usd INTO about
    FROM public.cost_rules c LEFT JOIN public.service_tokens t ON t.id = p_token
    LEFT JOIN public.auth_user u ON u.id = t.owner_id;
    IF NOT p_refused AND NOT (p_cost > about.alert_over_usd
        AND (p_reserved IS NULL OR p_cost > about.alert_times * p_reserved)) THEN
        RETURN false;
    END IF;
    RETURN tollgate.alert(CASE WHEN p_refused THEN 'cost_refused' ELSE 'cost_surprise' END,
        format('cost:%s:%s:%s', p_of, CASE WHEN p_refused AND p_of <> 'run' THEN p_token::text ELSE p_id::text END,
            CASE WHEN p_refused THEN 'refused:' || (p_at AT TIME ZONE 'UTC')::date ELSE '' END),
        format('%s %s $%s%s (token %s of %s)', what, CASE WHEN p_refused THEN 'reported' ELSE 'cost' END,
            tollgate.usd(p_cost), CASE
                WHEN p_refused THEN format(', over the $%s that its token may report: not counted yet',
                    tollgate.usd(about.max_run_usd))
                WHEN p_reserved IS NULL THEN ''
                ELSE format(' and had reserved $%s', tollgate.usd(p_reserved)) END,
            coalesce(about.name, 'unknown'), coalesce(about.username, 'nobody')),
        p_of, CASE WHEN p_refused AND p_of <> 'run' THEN '' ELSE p_id::text END,
        jsonb_build_object('severity', 'critical', 'of', p_of,
            CASE p_of WHEN 'run' THEN 'runId' ELSE 'spendId' END, p_id, 'agentName', p_agent,
            'costUsd', tollgate.usd(p_cost), 'reservedUsd', tollgate.usd(p_reserved),
            'tokenId', about.id, 'tokenName', about.name, 'tokenPrefix', about.prefix,
            'owner', about.username), p_at);
END $$;

-- Usage of a model that has no price: people are notified once a day.
CREATE OR REPLACE FUNCTION tollgate.alert_unpriced(r public.work_order_runs, p_model text, p_least numeric) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    name text := tollgate.named('work_order', r.wo_id);
BEGIN
    PERFORM tollgate.alert('cost_unpriced',
        format('unpriced:%s:%s:%s', r.wo_id, p_model, (r.finished_at AT TIME ZONE 'UTC')::date),
        format('%s used model %s, which has no price: its runs settle at their reservation, and at $%s at'
            ' least. Enter a price.', initcap(left(name, 1)) || substr(name, 2), p_model, tollgate.usd(p_least)),
        'work_order', r.wo_id,
        jsonb_build_object('severity', 'warning', 'model', p_model, 'runId', r.id,
            'agentName', r.agent_name, 'settledUsd', tollgate.usd(r.cost)), r.finished_at);
END $$;

-- Money that a run is given, or took, after its start: the present hour and minute bear it.
CREATE OR REPLACE FUNCTION tollgate.charge_later(
    p_run uuid, p_kind text, f tollgate.facts, p_reserved numeric, p_settled numeric, p_at timestamptz
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    ids bigint[] := tollgate.present_counters(f, p_at, true);
BEGIN
    INSERT INTO public.run_charges (run_id, kind, at, reserved_usd, settled_usd, charged_to)
    VALUES (p_run, p_kind, p_at, p_reserved, p_settled, ids);
    UPDATE public.counters SET reserved_usd = reserved_usd + p_reserved, settled_usd = settled_usd + coalesce(p_settled, 0)
    WHERE id = ANY (ids);
END $$;

-- Gives back what run `r` held and charges `p_cost`. The caller holds the locks on the run and on
-- its counters. An expired run that reports after all is corrected by the difference.
CREATE OR REPLACE FUNCTION tollgate.settle(
    r public.work_order_runs, p_status text, p_cost numeric, p_note text, p_usage jsonb, p_tokens bigint,
    p_fingerprint bytea, p_at timestamptz
) RETURNS public.work_order_runs LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    was_open integer := (r.status = 'running')::integer;
    was_cost numeric := coalesce(r.cost, 0);
    used_tokens bigint := coalesce(p_tokens, r.reserved_tokens);
    first_usd numeric := r.reserved_usd;   -- what was reserved at the start
    first_cost numeric;
    unpaid numeric;
    extended numeric;
    part numeric;
    c public.run_charges;
BEGIN
    IF p_cost <= r.reserved_usd
        AND NOT EXISTS (SELECT FROM public.run_charges x WHERE x.run_id = r.id) THEN
        first_cost := p_cost;
        unpaid := 0;
    ELSE
        -- Every moment that gave it money bears its part, in the order they came.
        SELECT coalesce(sum(x.reserved_usd), 0) INTO extended FROM public.run_charges x WHERE x.run_id = r.id;
        first_usd := r.reserved_usd - extended;
        first_cost := least(p_cost, first_usd);
        unpaid := p_cost - first_cost;
        was_cost := least(was_cost, first_usd);
    END IF;
    UPDATE public.counters SET
        open_runs = open_runs - was_open,
        reserved_usd = reserved_usd
            - was_open * CASE WHEN tollgate.is_short("window") THEN first_usd ELSE r.reserved_usd END,
        settled_usd = settled_usd + CASE WHEN tollgate.is_short("window") THEN first_cost - was_cost
            ELSE p_cost - coalesce(r.cost, 0) END,
        reserved_tokens = reserved_tokens - was_open * r.reserved_tokens,
        settled_tokens = settled_tokens + used_tokens - coalesce(r.tokens, 0)
    WHERE id = ANY (r.charged_to);
    IF extended > 0 THEN
        FOR c IN SELECT * FROM public.run_charges x WHERE x.run_id = r.id AND x.kind = 'extension'
            ORDER BY x.id LOOP
            part := least(unpaid, c.reserved_usd);
            unpaid := unpaid - part;
            UPDATE public.counters SET reserved_usd = reserved_usd - was_open * c.reserved_usd,
                settled_usd = settled_usd + part - coalesce(c.settled_usd, 0)
            WHERE id = ANY (c.charged_to);
            UPDATE public.run_charges SET settled_usd = part WHERE id = c.id;
        END LOOP;
    END IF;
    IF unpaid > 0 THEN
        -- Beyond all it had reserved: it is the present minute and hour that learn of it.
        PERFORM tollgate.charge_later(r.id, 'overrun', tollgate.run_facts(r), 0, unpaid, p_at);
        PERFORM tollgate.trip_if_over(tollgate.run_facts(r), p_at);
    END IF;
    UPDATE public.work_order_runs SET status = p_status, cost = p_cost, cost_note = p_note, usage = p_usage,
        tokens = used_tokens, finished_at = p_at, finish_fingerprint = p_fingerprint
    WHERE id = r.id RETURNING * INTO r;
    IF p_status IN ('success', 'error') THEN
        PERFORM tollgate.renew_statistics(ARRAY[r.wo_id]);
    END IF;
    IF was_open = 1 THEN
        PERFORM tollgate.breakers_after(r, p_at);
    END IF;
    RETURN r;
END $$;

-- What each event about the money of a run holds.
CREATE OR REPLACE FUNCTION tollgate.run_meta(r public.work_order_runs) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('woId', r.wo_id, 'runId', r.id, 'agentName', r.agent_name,
        'reservedUsd', tollgate.usd(r.reserved_usd), 'costUsd', tollgate.usd(r.cost))
$$;

-- The event of a run that its program has ended. `p_expired_usd`: what it was settled at before, by its lease.
CREATE OR REPLACE FUNCTION tollgate.finish_event(
    r public.work_order_runs, p_title text, p_actor text, p_request_id text, p_late boolean, p_expired_usd numeric
) RETURNS tollgate.event LANGUAGE sql STABLE AS $$
    SELECT row(CASE WHEN p_late THEN 'RUN_FINISHED_LATE' ELSE 'RUN_FINISHED' END,
        format('Run of %s ended with %s at $%s', r.agent_name, r.status, tollgate.usd(r.cost)), 'work_order', r.wo_id,
        p_title, p_actor, tollgate.run_meta(r) || jsonb_build_object('status', r.status, 'costNote', r.cost_note,
            'expiredCostUsd', tollgate.usd(p_expired_usd)), p_request_id)::tollgate.event
$$;

-- Ends runs whose lease is over, at their reservation: the money may have been spent.
-- `p_wo` null: of any work order. An admission calls it with the lock of the counters in hand, so it
-- takes only runs that nobody holds: whoever has one may wait for that lock.
CREATE OR REPLACE FUNCTION tollgate.reap_v1(p_wo text, p_max integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET jit TO off AS $$
DECLARE
    r public.work_order_runs;
    runs uuid[];
    at timestamptz := tollgate.now();
    reaped integer := 0;
BEGIN
    -- No lease ends later than its own length from now. One that does is of a clock that was ahead, and
    -- would hold its slot for as long as it was; whether its client lives, one more length will tell.
    UPDATE public.work_order_runs SET lease_expires_at = at + make_interval(secs => lease_seconds)
    WHERE id IN (SELECT late.id FROM public.work_order_runs late
        WHERE late.status = 'running' AND late.lease_expires_at > at + make_interval(secs => late.lease_seconds)
        FOR UPDATE SKIP LOCKED);
    SELECT array_agg(id) INTO runs FROM (
        SELECT id FROM public.work_order_runs
        WHERE status = 'running' AND lease_expires_at <= at AND (p_wo IS NULL OR wo_id = p_wo)
        ORDER BY lease_expires_at LIMIT p_max FOR UPDATE SKIP LOCKED) due;
    IF runs IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM tollgate.hold_counters();
    FOR r IN SELECT * FROM public.work_order_runs WHERE id = ANY (runs) ORDER BY lease_expires_at LOOP
        r := tollgate.settle(r, 'expired', r.reserved_usd, 'lease_expired', NULL, NULL, NULL, at);
        PERFORM tollgate.record(row('RUN_EXPIRED',
            format('Run of %s never reported: its lease ended, settled at $%s', r.agent_name, tollgate.usd(r.cost)),
            'work_order', r.wo_id, '', 'tollgate', tollgate.run_meta(r), '')::tollgate.event);
        reaped := reaped + 1;
    END LOOP;
    RETURN reaped;
END $$;

CREATE OR REPLACE FUNCTION tollgate.finished_body(r public.work_order_runs) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'runId', r.id, 'workOrderId', r.wo_id, 'status', r.status,
        'costUsd', tollgate.usd(r.cost), 'reservedUsd', tollgate.usd(r.reserved_usd),
        'overrunUsd', tollgate.usd(greatest(r.cost - r.reserved_usd, 0)),
        'costNote', nullif(r.cost_note, ''),
        'startedAt', tollgate.rfc3339(r.started_at),
        'finishedAt', tollgate.rfc3339(r.finished_at))::text
$$;

-- The answer to a start that was admitted before: the caps and the usage of that moment, and what its
-- run is now. A run whose lease is over cannot go on, whether it has been settled yet or not.
CREATE OR REPLACE FUNCTION tollgate.replayed_start(p_first text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce((
        SELECT json_build_object(
            'runId', r.id, 'workOrderId', r.wo_id, 'status', CASE
                WHEN r.status = 'running' AND r.lease_expires_at <= tollgate.now() THEN 'expired'
                ELSE r.status END,
            'reservedUsd', tollgate.usd(r.reserved_usd),
            'leaseExpiresAt', tollgate.rfc3339(r.lease_expires_at),
            'caps', p_first::json->'caps', 'usage', p_first::json->'usage', 'replayed', true,
            'settlement', CASE WHEN r.status <> 'running' THEN tollgate.finished_body(r)::json END)::text
        FROM public.work_order_runs r WHERE r.id = (p_first::json->>'runId')::uuid), p_first)
$$;

-- Whether a bearer may finish and extend runs of that token and work order.
CREATE OR REPLACE FUNCTION tollgate.is_reachable(p_token bigint, p_wo text, b tollgate.bearer) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT (p_token = b.token_id OR 'admin' = ANY (b.scopes) OR coalesce(tollgate.is_of_line(p_token, b), false))
        AND (cardinality(b.work_orders) = 0 OR p_wo = ANY (b.work_orders))
$$;

-- The run, locked; null where it is none of this bearer's: to any other token it does not exist.
CREATE OR REPLACE FUNCTION tollgate.hold_run(p_run uuid, b tollgate.bearer) RETURNS public.work_order_runs
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    r public.work_order_runs;
BEGIN
    PERFORM tollgate.share_limits();
    SELECT * INTO r FROM public.work_order_runs WHERE id = p_run FOR UPDATE;
    IF tollgate.is_reachable(r.token_id, r.wo_id, b) THEN
        RETURN r;
    END IF;
    RETURN NULL;
END $$;

-- More than the word of a token is good for.
CREATE OR REPLACE FUNCTION tollgate.over_ceiling(cost numeric, b tollgate.bearer) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT cost > b.max_run_usd AND NOT 'admin' = ANY (b.scopes)
$$;

-- `p_cost`: dollars; null where usage was reported and has no price. Unknown is never zero: that settles at
-- the reservation, and at what a run reserves by itself at least.
-- `p_tokens`: input and output together; null where no usage was reported.
-- `p_book_version`: the price book that `p_cost` was computed with; null where it was not.
CREATE OR REPLACE FUNCTION tollgate.finish_run_v1(
    p_digest bytea, p_address inet, p_run uuid, p_status text, p_cost numeric, p_usage jsonb,
    p_tokens bigint, p_book_version bigint, p_fingerprint bytea, p_request_id text
) RETURNS tollgate.answer LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET jit TO off AS $$
DECLARE
    b tollgate.bearer;
    r public.work_order_runs;
    was public.work_order_runs;
    alerts bigint;
    title text;
    answer tollgate.answer;
    cost numeric;
    least_usd numeric;
BEGIN
    -- (It runs with the owner's rights: whoever calls it, the cost is a number.)
    IF p_cost IS NOT NULL AND NOT p_cost BETWEEN 0 AND 1000000 THEN
        RAISE EXCEPTION 'a cost is out of bounds' USING ERRCODE = 'check_violation';
    END IF;
    SELECT * INTO b FROM tollgate.bearer_v1(p_digest, p_address, '{start,admin}', '');
    IF b.refusal <> '' THEN
        RETURN tollgate.token_refusal(b.refusal);
    END IF;
    IF b.use_due THEN
        PERFORM tollgate.note_token_use_v1(b.token_id, p_address);
    END IF;
    was := tollgate.hold_run(p_run, b);
    IF was.id IS NULL THEN
        RETURN tollgate.refusal(404, 'unknown_run', 'unknown run');
    END IF;
    IF was.status NOT IN ('running', 'expired') OR was.cost_note = 'corrected' THEN
        IF was.finish_fingerprint = p_fingerprint THEN
            PERFORM tollgate.confirm_commit();
            RETURN tollgate.granted(200, tollgate.finished_body(was), NULL, NULL, NULL, true);
        END IF;
        RETURN tollgate.refusal(409, 'run_ended', 'the run has already been finished otherwise');
    END IF;
    IF tollgate.is_stale(p_book_version) THEN
        RETURN tollgate.stale_prices();
    END IF;
    IF p_cost IS NULL THEN
        SELECT tollgate.default_usd(s.p95_usd, s.successful_runs, c.floor_usd, c.floor_runs, e.runs_per_day,
            e.usd_per_day) INTO least_usd
        FROM tollgate.effective_caps(was.wo_id, tollgate.now()) e CROSS JOIN public.cost_rules c
        LEFT JOIN public.cost_statistics s ON s.wo_id = was.wo_id;
    END IF;
    cost := coalesce(p_cost, greatest(was.reserved_usd, least_usd));
    IF tollgate.over_ceiling(cost, b) THEN
        -- The run stays as it is: its lease settles it at its reservation, unless somebody who may
        -- report so much finishes it before.
        answer := tollgate.refusal(403, 'cost_ceiling', format(
            'this token may report up to $%s a run: a token of scope admin finishes it',
            tollgate.usd(b.max_run_usd)));
        answer.alerted := tollgate.alert_cost('run', was.id, was.agent_name, cost, was.reserved_usd, was.token_id,
            true, tollgate.now());
        RETURN answer;
    END IF;
    IF p_usage IS NOT NULL THEN
        -- Telemetry of it, once: whoever finishes the run again is answered above. Before the lock
        -- that all take, because nothing is decided by it.
        PERFORM tollgate.record_usage(ARRAY[row(was.id, 'run', tollgate.now(), p_usage, p_cost,
            p_status <> 'error', was.id, was.wo_id, was.agent_name, was.user_id, was.surface, was.feature)::tollgate.used]);
    END IF;
    alerts := (SELECT max(id) FROM public.alerts);
    PERFORM tollgate.hold_counters();
    r := tollgate.settle(was, p_status, cost, CASE WHEN p_cost IS NULL THEN 'unpriced' ELSE '' END, p_usage, p_tokens,
        p_fingerprint, tollgate.now());
    title := (SELECT o.title FROM public.work_orders o WHERE o.id = r.wo_id);
    PERFORM tollgate.record(tollgate.finish_event(r, title, b.actor, p_request_id, was.status = 'expired',
        CASE WHEN was.status = 'expired' THEN was.cost END));
    IF r.cost > r.reserved_usd THEN
        PERFORM tollgate.record(row('RUN_OVERRUN', format('Run of %s cost $%s and had reserved $%s', r.agent_name,
                tollgate.usd(r.cost), tollgate.usd(r.reserved_usd)), 'work_order', r.wo_id,
            title, b.actor, tollgate.run_meta(r)
                || jsonb_build_object('overrunUsd', tollgate.usd(r.cost - r.reserved_usd)), p_request_id)::tollgate.event);
        PERFORM tollgate.alert_cost('run', r.id, r.agent_name, r.cost, r.reserved_usd, r.token_id, false,
            r.finished_at);
    END IF;
    IF p_cost IS NULL THEN
        PERFORM tollgate.alert_unpriced(r, p_usage->>'model', least_usd);
    END IF;
    RETURN tollgate.granted(200, tollgate.finished_body(r), r.reserved_usd, r.cost,
        (SELECT max(id) FROM public.alerts) IS DISTINCT FROM alerts);
END $$;

CREATE OR REPLACE PROCEDURE tollgate.finish_v1(
    p_digest bytea, p_address inet, p_run uuid, p_status text, p_cost numeric, p_usage jsonb,
    p_tokens bigint, p_book_version bigint, p_fingerprint bytea, p_request_id text,
    INOUT status integer, INOUT denial text, INOUT error text, INOUT retry_after integer,
    INOUT reset_at timestamptz, INOUT replayed boolean, INOUT body text, INOUT reserved_usd numeric,
    INOUT settled_usd numeric, INOUT alerted boolean
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT a.* INTO status, denial, error, retry_after, reset_at, replayed, body, reserved_usd,
        settled_usd, alerted
    FROM tollgate.finish_run_v1(p_digest, p_address, p_run, p_status, p_cost, p_usage, p_tokens,
        p_book_version, p_fingerprint, p_request_id) a;
    CALL tollgate.commit(status = 200 OR alerted);
END $$;
