-- What holds requests, votes and break-glass, whatever way they are written. What is raised here with
-- `restrict_violation` is shown to the person who asked, so it is worded for them.

-- Uses of break-glass, one at a time: a ceiling over all of them has to see all of them.
CREATE OR REPLACE FUNCTION tollgate.hold_glass() RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock(7405, 0)
$$;

CREATE OR REPLACE FUNCTION tollgate.approval_limit(p_name text) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT amount FROM public.approval_limits WHERE name = p_name
$$;

CREATE OR REPLACE FUNCTION tollgate.cap_text(p_measure text, p_value numeric) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE p_measure WHEN 'usd_per_day' THEN '$' || to_char(p_value, 'FM999,999,999,990.00') || ' a day'
        WHEN 'runs_per_day' THEN to_char(p_value, 'FM999,999,999,990') || ' runs a day'
        ELSE to_char(p_value, 'FM999,999,999,990') || ' concurrent runs' END
$$;

-- One statement is one use of break-glass, of one person on one work order: all its rows are judged
-- together. A limit that is not there allows nothing.
CREATE OR REPLACE FUNCTION tollgate.guard_glass() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    use record;
    other record;
    refusal text;
BEGIN
    IF NOT EXISTS (SELECT FROM fresh WHERE kind = 'break_glass') THEN
        RETURN NULL;
    END IF;
    PERFORM tollgate.hold_glass();
    SELECT min(f.person_id) AS person, min(f.wo_id) AS wo, min(f.starts_at) AS since, max(f.ends_at) AS until,
        count(DISTINCT (f.person_id, f.wo_id)) > 1 OR count(*) > count(DISTINCT f.measure) AS several
    INTO use FROM fresh f WHERE f.kind = 'break_glass';
    PERFORM tollgate.forbid(use.several, 'One use of break-glass is one person''s, on one work order.');
    SELECT g.created_at, g.wo_id INTO other FROM public.cap_grants g
    WHERE g.kind = 'break_glass' AND g.reviewed_at IS NULL AND g.created_at <= use.since - interval '24 hours'
    ORDER BY g.created_at LIMIT 1;
    PERFORM tollgate.forbid(FOUND, format(
        'The break-glass of %s UTC on %s was not reviewed within 24 hours: review it first.',
        to_char(other.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), other.wo_id));
    SELECT g.wo_id, g.person_id, g.granted_by INTO other FROM public.cap_grants g
    WHERE g.kind = 'break_glass' AND g.reviewed_at IS NULL AND (g.person_id = use.person OR g.wo_id = use.wo)
        AND NOT EXISTS (SELECT FROM fresh f WHERE f.id = g.id)
    ORDER BY g.person_id = use.person DESC LIMIT 1;
    PERFORM tollgate.forbid(FOUND, CASE WHEN other.person_id = use.person
        THEN format('Your break-glass on %s is not reviewed yet: somebody else must review it before the next.', other.wo_id)
        ELSE format('The break-glass of %s on this work order is not reviewed yet: review it first.', other.granted_by) END);
    SELECT 'Break-glass goes up to '
            || tollgate.cap_text(f.measure, coalesce(tollgate.approval_limit('break_glass_' || f.measure), 0)) || '.'
    INTO refusal FROM fresh f
    WHERE f.kind = 'break_glass'
        AND f.value > coalesce(tollgate.approval_limit('break_glass_' || f.measure), 0)
    ORDER BY f.measure LIMIT 1;
    PERFORM tollgate.forbid(FOUND, refusal);
    SELECT 'All break-glass in force together goes up to '
            || tollgate.cap_text(f.measure, coalesce(tollgate.approval_limit('all_glass_' || f.measure), 0))
            || '; ' || tollgate.cap_text(f.measure, x.taken) || ' are in use.'
    INTO refusal FROM fresh f
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(g.value), 0) AS taken FROM public.cap_grants g
        WHERE g.kind = 'break_glass' AND g.measure = f.measure AND g.ends_at > use.since
            AND g.starts_at < use.until AND NOT EXISTS (SELECT FROM fresh m WHERE m.id = g.id)) x
    WHERE f.kind = 'break_glass'
        AND x.taken + f.value > coalesce(tollgate.approval_limit('all_glass_' || f.measure), 0)
    ORDER BY f.measure LIMIT 1;
    PERFORM tollgate.forbid(FOUND, refusal);
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER guard_glass AFTER INSERT ON public.cap_grants
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION tollgate.guard_glass();

-- How far one person or token goes alone is lowered by anybody, and raised by an applied request,
-- which records its event first. The rows are those that were shipped.
CREATE OR REPLACE FUNCTION tollgate.guard_approval_limit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tollgate.forbid(TG_OP <> 'UPDATE', 'limits on approvals are neither added nor removed');
    PERFORM tollgate.forbid(NEW.name <> OLD.name OR (NEW.amount > OLD.amount AND NOT EXISTS (
        SELECT FROM public.operations_events e
        WHERE e.owner_type = 'approval_limit' AND e.owner_id = OLD.id::text AND e.kind = 'LIMIT_RAISED'
            AND e.xact = pg_current_xact_id()::text::bigint)),
        format('the limit %s is raised only through an approved request', OLD.name));
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER guard BEFORE UPDATE OR DELETE ON public.approval_limits
    FOR EACH ROW EXECUTE FUNCTION tollgate.guard_approval_limit();

-- A program's request: its token's owner and maker are what the token says, not what the program
-- says; and one token, with those it was rotated from or to, does not open requests without end. The
-- row of the line's first token is locked, so that two at once are counted one after the other.
CREATE OR REPLACE FUNCTION tollgate.guard_new_request() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    line bigint;
    waiting bigint;
    today bigint;
    at timestamptz := clock_timestamp();
BEGIN
    SELECT t.owner_id, t.created_by_id, t.lineage INTO NEW.token_owner_id, NEW.token_maker_id, line
    FROM public.service_tokens t WHERE t.id = NEW.token_id;
    PERFORM FROM public.service_tokens t WHERE t.id = line FOR NO KEY UPDATE;
    SELECT count(*) FILTER (WHERE r.status = 'pending' AND r.expires_at > at),
        count(*) FILTER (WHERE r.created_at >= date_trunc('day', at, 'UTC'))
    INTO waiting, today FROM public.change_requests r JOIN public.service_tokens t ON t.id = r.token_id
    WHERE t.lineage = line
        AND (r.status = 'pending' OR r.created_at >= date_trunc('day', at, 'UTC'));
    PERFORM tollgate.forbid(waiting >= coalesce(tollgate.approval_limit('token_open_requests'), 0),
        format('%s requests of this token are open already, which is as many as it may have.', waiting));
    PERFORM tollgate.forbid(today >= coalesce(tollgate.approval_limit('token_requests_a_day'), 0),
        format('This token has made %s requests today (UTC), which is as many as it may make.', today));
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER guard_new BEFORE INSERT ON public.change_requests
    FOR EACH ROW WHEN (NEW.token_id IS NOT NULL) EXECUTE FUNCTION tollgate.guard_new_request();

-- A decided request stays as it was decided. An open one keeps its subject and its token; it gets
-- another requester only where a program asked and a person takes it over.
CREATE OR REPLACE FUNCTION tollgate.guard_request() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tollgate.forbid((OLD.status <> 'pending'
            AND (NEW.status, NEW.requester_id, NEW.revision, NEW.justification, NEW.grant_from,
                NEW.grant_until)
            IS DISTINCT FROM (OLD.status, OLD.requester_id, OLD.revision, OLD.justification,
                OLD.grant_from, OLD.grant_until))
        OR (NEW.subject_type, NEW.subject_id, NEW.token_id, NEW.token_owner_id, NEW.token_maker_id)
            IS DISTINCT FROM (OLD.subject_type, OLD.subject_id, OLD.token_id, OLD.token_owner_id,
                OLD.token_maker_id)
        OR (NEW.requester_id <> OLD.requester_id
            AND (OLD.token_id IS NULL OR OLD.revision > 1 OR NEW.revision = 1))
        OR NEW.revision < OLD.revision, format('request #%s cannot be rewritten', OLD.id));
    NEW.revised_at := CASE WHEN NEW.revision > OLD.revision THEN clock_timestamp() ELSE OLD.revised_at END;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER guard BEFORE UPDATE ON public.change_requests
    FOR EACH ROW EXECUTE FUNCTION tollgate.guard_request();

-- Nobody knows today what is right in a year: a raise for a time begins within 90 days of being asked for
-- (and of being granted, see guard_new_grant).
CREATE OR REPLACE FUNCTION tollgate.guard_beginning() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tollgate.forbid(NEW.grant_from > clock_timestamp() + interval '90 days',
        'a raise for a time begins within 90 days');
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER guard_beginning BEFORE INSERT OR UPDATE OF grant_from ON public.change_requests
    FOR EACH ROW WHEN (NEW.grant_from IS NOT NULL) EXECUTE FUNCTION tollgate.guard_beginning();
-- From when on a revision waits, for whoever may sign it after a time only.
CREATE OR REPLACE FUNCTION tollgate.stamp_request() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.revised_at := clock_timestamp();
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER stamp BEFORE INSERT ON public.change_requests
    FOR EACH ROW EXECUTE FUNCTION tollgate.stamp_request();

-- Nobody votes on a request that is theirs: by asking, or by the token that asked.
-- But for a solo operator, after the waiting time, with a second factor: then the vote has its time.
CREATE OR REPLACE FUNCTION tollgate.guard_vote() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.second_factor_at IS NOT NULL THEN
        PERFORM tollgate.check_solo(NEW.voter_id,
            (SELECT coalesce(r.revised_at, r.created_at) FROM public.change_requests r WHERE r.id = NEW.request_id), NEW.second_factor_at);
        RETURN NEW;
    END IF;
    PERFORM tollgate.forbid(EXISTS (
        SELECT FROM public.change_requests r
        LEFT JOIN public.service_tokens asked ON asked.id = r.token_id
            OR (r.subject_type = 'service_token' AND asked.id::text = r.subject_id)
        LEFT JOIN public.service_tokens t ON t.lineage = asked.lineage
        WHERE r.id = NEW.request_id AND NEW.voter_id IN (r.requester_id, r.token_owner_id, r.token_maker_id,
            t.owner_id, t.created_by_id)), 'Nobody approves their own request.');
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER guard BEFORE INSERT ON public.change_votes
    FOR EACH ROW EXECUTE FUNCTION tollgate.guard_vote();

-- A token lifts only what it set, and set alone. Whoever else writes a switch that is on (SQL, a
-- person on top of it) makes it people's to lift.
CREATE OR REPLACE FUNCTION tollgate.guard_switch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT NEW.enabled THEN
        NEW.set_by_person_id := NULL;
        NEW.set_by_token_id := NULL;
    ELSIF OLD.enabled THEN
        NEW.set_by_token_id := NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER guard BEFORE UPDATE ON public.kill_switches
    FOR EACH ROW EXECUTE FUNCTION tollgate.guard_switch();
