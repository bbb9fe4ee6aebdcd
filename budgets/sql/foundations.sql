-- What the routines of admission, settlement and extension share.

-- The clock of every decision. Tests of midnight replace it in their own database.
CREATE OR REPLACE FUNCTION tollgate.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    'SELECT clock_timestamp()';

-- Time-ordered (version 7), so that ten million runs do not scatter their index entries.
-- PostgreSQL 18 has uuidv7(); this works from 15 on.
CREATE OR REPLACE FUNCTION tollgate.uuid7(at timestamptz) RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
        PLACING substring(int8send((extract(epoch FROM at) * 1000)::bigint) FROM 3) FROM 1 FOR 6),
        52, 1), 53, 1), 'hex')::uuid
$$;

-- Dollars as the API sends them: at least cents, no trailing zeros beyond.
CREATE OR REPLACE FUNCTION tollgate.usd(amount numeric) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN scale(trim_scale(amount)) < 2 THEN round(amount, 2)::text
                ELSE trim_scale(amount)::text END
$$;

CREATE OR REPLACE FUNCTION tollgate.rfc3339(at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- What a caller gets back. `denial` is empty where the request was granted.
CREATE TYPE tollgate.answer AS (
    status integer,
    denial text,
    error text,
    retry_after integer,        -- seconds
    reset_at timestamptz,
    replayed boolean,
    body text,                  -- JSON: the answer; of a refusal by a limit, its scope and subject
    reserved_usd numeric,       -- for metrics
    settled_usd numeric,
    alerted boolean             -- there is something to tell people
);

-- A refusal; `until` is the moment at which time cures it, `after` the seconds of Retry-After.
CREATE OR REPLACE FUNCTION tollgate.refusal(
    status integer, denial text, error text, after integer DEFAULT NULL, until timestamptz DEFAULT NULL
) RETURNS tollgate.answer LANGUAGE sql IMMUTABLE AS $$
    SELECT row(status, denial, error, after, until, false, NULL, NULL, NULL, false)::tollgate.answer
$$;

CREATE OR REPLACE FUNCTION tollgate.granted(
    status integer, body text, reserved_usd numeric, settled_usd numeric, alerted boolean,
    is_replay boolean DEFAULT FALSE
) RETURNS tollgate.answer LANGUAGE sql IMMUTABLE AS $$
    SELECT row(status, '', NULL, NULL, NULL, is_replay, body, reserved_usd, settled_usd, alerted)::tollgate.answer
$$;

-- Whole seconds until then, as a refusal says them: one at least.
CREATE OR REPLACE FUNCTION tollgate.seconds_until(until timestamptz, at timestamptz) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT greatest(1, ceil(extract(epoch FROM until - at)))::integer
$$;

CREATE OR REPLACE FUNCTION tollgate.token_refusal(refusal text) RETURNS tollgate.answer LANGUAGE sql IMMUTABLE AS $$
    SELECT tollgate.refusal(a.status, a.denial, a.error) FROM tollgate.token_answer_v1(refusal) a
$$;

-- The seconds to wait where a limit of the day refuses: those of the setting, or until midnight (UTC).
CREATE OR REPLACE FUNCTION tollgate.day_after(p_retry_after integer, at timestamptz) RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT coalesce(p_retry_after,
        ceil(extract(epoch FROM date_trunc('day', at, 'UTC') + interval '1 day' - at))::integer)
$$;

CREATE OR REPLACE FUNCTION tollgate.stale_prices() RETURNS tollgate.answer LANGUAGE sql STABLE AS $$
    SELECT tollgate.refusal(0, 'stale_prices', (SELECT v.version::text FROM public.price_book_version v))
$$;

-- (In plpgsql: what is stated in dollars names no version, and costs no query.)
CREATE OR REPLACE FUNCTION tollgate.is_stale(p_book_version bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF p_book_version IS NULL THEN
        RETURN false;
    END IF;
    RETURN p_book_version <> (SELECT v.version FROM public.price_book_version v);
END $$;

-- An answer that was granted under a key. It is kept for 48 hours, in the transaction of what it grants.
CREATE TYPE tollgate.kept AS (lineage bigint, key text, fingerprint bytea, body text);

-- Returns how many are new: of one that is under way, this waits, and keeps none.
CREATE OR REPLACE FUNCTION tollgate.keep_answers(p_endpoint text, p_at timestamptz, VARIADIC p_answers tollgate.kept[])
RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    written bigint;
BEGIN
    INSERT INTO public.idempotency_records AS i (token_id, endpoint, key, fingerprint, answer, created_at)
    SELECT k.lineage, p_endpoint, k.key, k.fingerprint, jsonb_build_object('body', k.body), p_at
    FROM unnest(p_answers) k WHERE k.key <> ''
    ON CONFLICT (token_id, endpoint, key) DO UPDATE SET fingerprint = excluded.fingerprint,
        answer = excluded.answer, created_at = excluded.created_at
    WHERE i.created_at <= p_at - interval '48 hours';
    GET DIAGNOSTICS written = ROW_COUNT;
    RETURN written;
END $$;

CREATE OR REPLACE FUNCTION tollgate.replay_of(fingerprint bytea, p_fingerprint bytea, status integer, body text)
RETURNS tollgate.answer LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN fingerprint = p_fingerprint THEN tollgate.granted(status, body, NULL, NULL, false, true)
        ELSE tollgate.refusal(422, 'idempotency_key', 'this Idempotency-Key was used for another request') END
$$;

-- The answer that is kept under the key; its status is null where none is.
CREATE OR REPLACE FUNCTION tollgate.kept_answer(
    p_lineage bigint, p_endpoint text, p_key text, p_fingerprint bytea, p_at timestamptz, p_status integer
) RETURNS tollgate.answer LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    kept public.idempotency_records;
BEGIN
    SELECT * INTO kept FROM public.idempotency_records i
    WHERE i.token_id = p_lineage AND i.endpoint = p_endpoint AND i.key = p_key
        AND i.created_at > p_at - interval '48 hours';
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF kept.fingerprint = p_fingerprint THEN
        PERFORM tollgate.confirm_commit();
    END IF;
    RETURN tollgate.replay_of(kept.fingerprint, p_fingerprint, p_status, kept.answer->>'body');
END $$;

-- Ends the transaction early and safely: after the asynchronous COMMIT the row locks are free, and
-- the log is forced out before the caller gets an answer, so nothing acknowledged can be lost.
-- Called by the procedures only, as their last act; docs/locking.md tells why and what was measured.
CREATE OR REPLACE PROCEDURE tollgate.commit(flush boolean) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    COMMIT;
    IF flush THEN
        IF current_setting('server_version_num')::integer >= 170000
            AND current_setting('synchronous_standby_names') = '' THEN
            PERFORM pg_logical_emit_message(false, 'tollgate', '', true);
        ELSE
            -- Before 17 the message cannot flush; and only a commit waits for a synchronous standby.
            PERFORM tollgate.confirm_commit();
            COMMIT;
        END IF;
    END IF;
END $$;

-- Counter rows, each found by one text key. (Called immutable, PostgreSQL would not put it into the
-- query that asks, since the epoch of a moment is only stable to it; and every call cost one query.)
CREATE OR REPLACE FUNCTION tollgate.slot_key(win text, starts_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT win || ':' || extract(epoch FROM starts_at)::bigint || ':'
$$;
CREATE OR REPLACE FUNCTION tollgate.key_in_slot(slot text, scope text, subject text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT slot || scope || ':' || subject
$$;
CREATE OR REPLACE FUNCTION tollgate.counter_key(scope text, subject text, win text, starts_at timestamptz)
RETURNS text LANGUAGE sql STABLE AS $$
    SELECT tollgate.key_in_slot(tollgate.slot_key(win, starts_at), scope, subject)
$$;
CREATE TYPE tollgate.counter AS (scope text, subject text, win text, starts_at timestamptz);
-- Those of them that are not there yet. The caller has the lock of all.
CREATE OR REPLACE FUNCTION tollgate.make_counters(p_counters tollgate.counter[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.counters (key, scope, subject, "window", starts_at)
    SELECT tollgate.counter_key(c.scope, c.subject, c.win, c.starts_at), c.scope, c.subject, c.win, c.starts_at
    FROM unnest(p_counters) c ON CONFLICT DO NOTHING;
END $$;

-- The locks of a decision (docs/locking.md): of the work order, which admissions share and a change of
-- its caps or status has alone; then that of everything counted, which has one holder, and is given
-- back at the commit, before the flush. They are advisory locks of the transaction: taking one writes
-- nothing, those who wait are served in their order, and lock_timeout holds for them.
CREATE OR REPLACE FUNCTION tollgate.hold_work_order(p_wo text) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock(7401, hashtext(p_wo))
$$;
CREATE OR REPLACE FUNCTION tollgate.share_work_order(p_wo text) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock_shared(7401, hashtext(p_wo))
$$;
CREATE OR REPLACE FUNCTION tollgate.hold_counters() RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock(7400, 0)
$$;
-- A run lists its counters, and a new limit adds one to it. So whoever changes a run shares this lock before it has
-- the run's, and whoever may make a limit has it alone, before that of the counters. Else one would hold the run
-- and wait for the counters, the other the counters and wait for the run.
CREATE OR REPLACE FUNCTION tollgate.share_limits() RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock_shared(7406, 0)
$$;
CREATE OR REPLACE FUNCTION tollgate.hold_limits() RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7406, 0);
    PERFORM tollgate.hold_counters();
END $$;

-- A write of a cap or a status waits for the admissions that are under way, and those that come
-- after it see it: without this a start could be admitted after a suspension had been acknowledged.
CREATE OR REPLACE FUNCTION tollgate.order_with_admission() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tollgate.hold_work_order(NEW.id);
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER order_with_admission BEFORE UPDATE ON public.work_orders
    FOR EACH ROW EXECUTE FUNCTION tollgate.order_with_admission();

-- Caps change only with the proof of an applied change: a row of `cap_changes` with exactly these
-- old and new values, inserted by this very transaction, and its event. Both are
-- append-only and stamped by triggers with the transaction's id and the database user; a session
-- variable would be no proof, since anybody can set one.
CREATE OR REPLACE FUNCTION tollgate.told_in_this_transaction(p_wo text, kinds text[]) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM public.operations_events e
        WHERE e.owner_type = 'work_order' AND e.owner_id = p_wo AND e.kind = ANY (kinds)
            AND e.xact = pg_current_xact_id()::text::bigint
            AND e.created_at > now() - interval '1 day')
$$;

CREATE OR REPLACE FUNCTION tollgate.stamp_cap_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.applied_xid := pg_current_xact_id()::text::numeric;
    NEW.applied_at := clock_timestamp();
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER stamp BEFORE INSERT ON public.cap_changes
    FOR EACH ROW EXECUTE FUNCTION tollgate.stamp_cap_change();

CREATE OR REPLACE FUNCTION tollgate.cap_change_hint() RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'In the admin: Work orders, the work order, Request a cap change. '
        'Over the API: POST /api/work-orders/ID/cap-changes.'
$$;
CREATE OR REPLACE FUNCTION tollgate.guard_caps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM tollgate.forbid(NEW.runs_per_day > 100 OR NEW.usd_per_day > 2.00 OR NEW.max_concurrent_runs > 2,
            'a work order begins with the default caps; more is a cap change');
        PERFORM tollgate.forbid(NEW.status <> 'draft',
            'a work order begins as a draft; what follows is told with a reason');
        RETURN NEW;
    END IF;
    PERFORM tollgate.forbid(NOT tollgate.told_in_this_transaction(NEW.id, '{WORK_ORDER_CAP_CHANGE}') OR NOT EXISTS (
        SELECT FROM public.cap_changes c
        WHERE c.wo_id = NEW.id AND c.applied_xid = pg_current_xact_id()::text::numeric
            AND c.old_runs_per_day = OLD.runs_per_day AND c.new_runs_per_day = NEW.runs_per_day
            AND c.old_usd_per_day = OLD.usd_per_day AND c.new_usd_per_day = NEW.usd_per_day
            AND coalesce(c.old_max_concurrent_runs, OLD.max_concurrent_runs) = OLD.max_concurrent_runs
            AND coalesce(c.new_max_concurrent_runs, OLD.max_concurrent_runs) = NEW.max_concurrent_runs),
        format('the caps of work order %s change only through an applied cap change', OLD.id), tollgate.cap_change_hint());
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER guard_caps_insert BEFORE INSERT ON public.work_orders
    FOR EACH ROW EXECUTE FUNCTION tollgate.guard_caps();
CREATE OR REPLACE TRIGGER guard_caps BEFORE UPDATE ON public.work_orders
    FOR EACH ROW WHEN (OLD.runs_per_day IS DISTINCT FROM NEW.runs_per_day
        OR OLD.usd_per_day IS DISTINCT FROM NEW.usd_per_day
        OR OLD.max_concurrent_runs IS DISTINCT FROM NEW.max_concurrent_runs)
    EXECUTE FUNCTION tollgate.guard_caps();

-- A grant is in force for its interval. It may end earlier than it was given for, and it may be
-- reviewed, once; nothing else about it ever changes, and it is never removed.
CREATE OR REPLACE FUNCTION tollgate.guard_grant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tollgate.forbid((to_jsonb(NEW) - '{ends_at,reviewed_by_id,reviewed_at,review,second_factor_at}'::text[])
            <> (to_jsonb(OLD) - '{ends_at,reviewed_by_id,reviewed_at,review,second_factor_at}'::text[])
        OR NEW.ends_at > OLD.ends_at
        OR (OLD.reviewed_at IS NOT NULL
            AND (NEW.reviewed_at, NEW.reviewed_by_id, NEW.review, NEW.second_factor_at)
                IS DISTINCT FROM (OLD.reviewed_at, OLD.reviewed_by_id, OLD.review, OLD.second_factor_at)),
        'a grant can only end earlier, or be reviewed, once');
    IF NEW.second_factor_at IS NOT NULL AND OLD.second_factor_at IS NULL THEN
        PERFORM tollgate.check_solo(NEW.reviewed_by_id, OLD.created_at, NEW.second_factor_at);
    END IF;
    -- As for a lowered cap: who comes after the acknowledgement sees it.
    PERFORM tollgate.hold_work_order(NEW.wo_id);
    RETURN NEW;
END $$;
CREATE OR REPLACE FUNCTION tollgate.guard_new_grant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tollgate.forbid(NOT tollgate.told_in_this_transaction(NEW.wo_id,
            CASE NEW.kind WHEN 'break_glass' THEN '{BREAK_GLASS}' ELSE '{WORK_ORDER_CAP_CHANGE}' END::text[]),
        format('a grant on work order %s comes only from an approved request or break-glass', NEW.wo_id),
        tollgate.cap_change_hint());
    PERFORM tollgate.forbid(NEW.starts_at > clock_timestamp() + interval '90 days', 'a grant begins within 90 days');
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER guard_new_grant BEFORE INSERT ON public.cap_grants
    FOR EACH ROW EXECUTE FUNCTION tollgate.guard_new_grant();
CREATE OR REPLACE TRIGGER guard_grant BEFORE UPDATE ON public.cap_grants
    FOR EACH ROW EXECUTE FUNCTION tollgate.guard_grant();
CREATE OR REPLACE TRIGGER append_only BEFORE DELETE ON public.cap_grants
    FOR EACH ROW EXECUTE FUNCTION tollgate.refuse_change();
CREATE OR REPLACE TRIGGER append_only_truncate BEFORE TRUNCATE ON public.cap_grants
    FOR EACH STATEMENT EXECUTE FUNCTION tollgate.refuse_change();

-- The caps in force at a moment: the larger of the base and the live grants; and the next moment at which
-- a grant begins or ends, when they may be others.
-- (Returns a table, not a record, so that PostgreSQL puts it into the query that asks.)
CREATE OR REPLACE FUNCTION tollgate.effective_caps(p_wo text, p_at timestamptz)
RETURNS TABLE (runs_per_day integer, usd_per_day numeric, max_concurrent_runs integer,
    holds_until timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT greatest(o.runs_per_day, max(g.value)
            FILTER (WHERE g.measure = 'runs_per_day' AND g.starts_at <= p_at))::integer,
        greatest(o.usd_per_day, max(g.value)
            FILTER (WHERE g.measure = 'usd_per_day' AND g.starts_at <= p_at)),
        greatest(o.max_concurrent_runs, max(g.value)
            FILTER (WHERE g.measure = 'max_concurrent_runs' AND g.starts_at <= p_at))::integer,
        min(CASE WHEN g.starts_at <= p_at THEN g.ends_at ELSE g.starts_at END)
    FROM public.work_orders o
    LEFT JOIN public.cap_grants g ON g.wo_id = o.id AND p_at < g.ends_at
    WHERE o.id = p_wo GROUP BY o.id
$$;
-- The grants of a moment of all work orders at once, the highest of each measure, for what reads all of them.
CREATE OR REPLACE FUNCTION tollgate.grants_in_force(p_at timestamptz)
RETURNS TABLE (wo_id text, runs numeric, usd numeric) LANGUAGE sql STABLE AS $$
    SELECT g.wo_id, max(g.value) FILTER (WHERE g.measure = 'runs_per_day'),
        max(g.value) FILTER (WHERE g.measure = 'usd_per_day')
    FROM public.cap_grants g WHERE g.starts_at <= p_at AND p_at < g.ends_at GROUP BY g.wo_id
$$;
