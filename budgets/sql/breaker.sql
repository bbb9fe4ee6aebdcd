-- The circuit breaker and the kill switch: what stops everything, one surface, one identity, or one
-- work order at once. All of it is read and written under the one lock of all.

CREATE OR REPLACE FUNCTION tollgate.breaker_name(c public.circuit_breakers) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE c.scope WHEN 'global' THEN 'Circuit breaker' ELSE 'Circuit breaker of ' || c.subject END
$$;

-- Whose timeline its events stand in.
CREATE OR REPLACE FUNCTION tollgate.breaker_owner(c public.circuit_breakers) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE c.scope WHEN 'global' THEN ARRAY['circuit_breaker', c.id::text] ELSE ARRAY['work_order', c.subject] END
$$;

-- Alerts on a transition. `p_at` in the key: each transition is one occurrence.
CREATE OR REPLACE FUNCTION tollgate.breaker_alert(
    c public.circuit_breakers, p_kind text, p_reason text, p_at timestamptz
)
RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT tollgate.alert(p_kind,
        format('%s:%s:%s:%s', p_kind, c.scope, c.subject, extract(epoch FROM p_at)),
        format('%s %s: %s', tollgate.breaker_name(c), replace(c.state, '_', '-'), p_reason),
        (tollgate.breaker_owner(c))[1], (tollgate.breaker_owner(c))[2],
        jsonb_build_object('scope', c.scope, 'subject', c.subject, 'state', c.state,
            'reason', p_reason, 'halfOpenAt', tollgate.rfc3339(c.half_open_at),
            'probeRunId', c.probe_run_id), p_at)
$$;

-- closed, or half-open → open.
CREATE OR REPLACE FUNCTION tollgate.trip(p_scope text, p_subject text, p_reason text, p_at timestamptz)
RETURNS public.circuit_breakers LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    c public.circuit_breakers;
BEGIN
    INSERT INTO public.circuit_breakers AS b
        (scope, subject, state, open_seconds, probe_seconds, reason, changed_at, half_open_at)
    SELECT p_scope, p_subject, 'open', s.seconds, coalesce(o.probe_seconds, 60), p_reason, p_at,
        p_at + make_interval(secs => s.seconds)
    FROM (VALUES (p_scope)) AS asked (scope)
    LEFT JOIN public.circuit_breakers o ON o.scope = asked.scope AND o.subject = '*'
    CROSS JOIN LATERAL (SELECT coalesce(o.open_seconds, 300) AS seconds) s
    ON CONFLICT (scope, subject) DO UPDATE SET state = 'open', reason = excluded.reason,
        changed_at = excluded.changed_at, probe_run_id = NULL,
        half_open_at = excluded.changed_at + make_interval(secs => b.open_seconds)
    RETURNING * INTO c;
    PERFORM tollgate.breaker_alert(c, 'breaker_opened', p_reason, p_at);
    RETURN c;
END $$;

-- → closed.
CREATE OR REPLACE FUNCTION tollgate.close_breaker(p_id bigint, p_reason text, p_at timestamptz)
RETURNS public.circuit_breakers LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    c public.circuit_breakers;
BEGIN
    UPDATE public.circuit_breakers SET state = 'closed', reason = p_reason, changed_at = p_at,
        half_open_at = NULL, probe_run_id = NULL
    WHERE id = p_id RETURNING * INTO c;
    PERFORM tollgate.breaker_alert(c, 'breaker_closed', p_reason, p_at);
    RETURN c;
END $$;

-- Whether the next run may be the probe of a breaker that is not closed: its time is over, or that of
-- its probe. `half_open_at` is that moment in both states. (One from the future is of a clock that was
-- ahead, and would block for as long as it was.)
CREATE OR REPLACE FUNCTION tollgate.may_probe(c public.circuit_breakers, p_at timestamptz) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(c.half_open_at <= p_at, true) OR coalesce(c.changed_at > p_at, false)
$$;

-- open → half-open: run `p_run` is the probe. half-open → half-open: it replaces a probe that has not
-- reported in time.
CREATE OR REPLACE FUNCTION tollgate.probe_breakers(p_ids bigint[], p_run uuid, p_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    was public.circuit_breakers;
    c public.circuit_breakers;
BEGIN
    FOR was IN SELECT * FROM public.circuit_breakers WHERE id = ANY (p_ids) ORDER BY id LOOP
        -- (Since when it is half-open stays: what has started since then was a probe.)
        UPDATE public.circuit_breakers SET state = 'half_open', probe_run_id = p_run,
            half_open_at = p_at + make_interval(secs => probe_seconds),
            changed_at = CASE was.state WHEN 'open' THEN p_at ELSE least(changed_at, p_at) END
        WHERE id = was.id RETURNING * INTO c;
        IF was.state = 'open' THEN
            PERFORM tollgate.breaker_alert(c, 'breaker_half_open', 'run ' || p_run || ' probes', p_at);
        ELSE
            -- Nobody needs a message about each probe that dies; the record has it.
            PERFORM tollgate.record(row('BREAKER_HALF_OPEN', format(
                    '%s half-open: run %s did not report within %s s, run %s probes', tollgate.breaker_name(c),
                    was.probe_run_id, c.probe_seconds, p_run),
                (tollgate.breaker_owner(c))[1], (tollgate.breaker_owner(c))[2], '', 'tollgate',
                jsonb_build_object('scope', c.scope, 'subject', c.subject, 'state', c.state,
                    'probeRunId', p_run, 'replacedRunId', was.probe_run_id,
                    'halfOpenAt', tollgate.rfc3339(c.half_open_at)), '')::tollgate.event);
        END IF;
    END LOOP;
END $$;

-- How the last runs of a work order ended since its breaker changed. No row: errors in a row open none.
CREATE OR REPLACE FUNCTION tollgate.recent_errors(p_wo text, p_at timestamptz)
RETURNS TABLE (runs integer, error_percent smallint, closed boolean, open boolean, ended bigint, failed bigint)
LANGUAGE sql STABLE AS $$
    SELECT o.recent_runs, o.error_percent, coalesce(c.state, 'closed') = 'closed',
        coalesce(c.state, 'closed') = 'open', e.ended, e.failed
    FROM public.circuit_breakers o
    LEFT JOIN public.circuit_breakers c ON c.scope = 'work_order' AND c.subject = p_wo
    CROSS JOIN LATERAL (
        SELECT count(*) AS ended, count(*) FILTER (WHERE recent.status = 'error') AS failed
        FROM (SELECT r.status FROM public.work_order_runs r
              WHERE r.wo_id = p_wo AND r.status IN ('success', 'error')
                  AND r.finished_at > CASE WHEN c.changed_at <= p_at THEN c.changed_at ELSE '-infinity' END
                  AND r.finished_at <= p_at
              ORDER BY r.finished_at DESC LIMIT o.recent_runs) recent) e
    WHERE o.scope = 'work_order' AND o.subject = '*' AND o.recent_runs IS NOT NULL
        AND o.error_percent IS NOT NULL
$$;

-- What the end of a run means for breakers: a probe decides, and errors in a row trip.
CREATE OR REPLACE FUNCTION tollgate.breakers_after(r public.work_order_runs, p_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    c public.circuit_breakers;
    recent record;
BEGIN
    -- A probe that succeeds after its time has proved it all the same; one that fails then was replaced.
    FOR c IN SELECT * FROM public.circuit_breakers b WHERE b.probe_run_id IS NOT NULL
        AND (b.probe_run_id = r.id OR (r.status = 'success' AND r.started_at >= b.changed_at
            AND (b.scope = 'global' OR b.subject = r.wo_id))) LOOP
        IF r.status = 'success' THEN
            PERFORM tollgate.close_breaker(c.id, 'the probe succeeded', p_at);
        ELSIF r.status = 'cancelled' THEN
            -- It proved nothing: the next admission is the probe.
            UPDATE public.circuit_breakers SET state = 'open', probe_run_id = NULL, half_open_at = p_at
            WHERE id = c.id;
        ELSE
            PERFORM tollgate.trip(c.scope, c.subject, 'the probe ended with ' || r.status, p_at);
        END IF;
    END LOOP;
    IF r.status <> 'error' THEN
        RETURN;
    END IF;
    SELECT * INTO recent FROM tollgate.recent_errors(r.wo_id, p_at);
    IF recent.closed AND recent.ended >= recent.runs AND recent.failed * 100 >= recent.error_percent * recent.ended
    THEN
        PERFORM tollgate.trip('work_order', r.wo_id,
            format('%s of the last %s runs ended in an error', recent.failed, recent.ended), p_at);
    END IF;
END $$;

-- Whether so many errors more could open the breaker of a work order, in whatever order its runs end.
CREATE OR REPLACE FUNCTION tollgate.may_trip(p_wo text, p_errors bigint, p_at timestamptz) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT coalesce(bool_or(NOT e.open AND (e.failed + p_errors) * 100 >= e.error_percent * e.runs), false)
    FROM tollgate.recent_errors(p_wo, p_at) e
$$;

-- Trips the breaker if the committed dollars of the last minute are over its amount, and switches the
-- feature off if those of its last hour have reached its cost cap. For money that nobody was asked
-- about: overruns, corrections, and spend that was reported.
CREATE OR REPLACE FUNCTION tollgate.trip_if_over(f tollgate.facts, p_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    c tollgate.charge;
BEGIN
    FOR c IN SELECT * FROM tollgate.charges(f, p_at, false) x
        WHERE (x.check_name = 'breaker_minute' AND x.used > x.amount)
            OR (x.check_name = 'feature_cost' AND x.used >= x.amount) LOOP
        IF c.check_name = 'feature_cost' THEN
            PERFORM tollgate.switch_feature_off(f.feature, c, p_at);
        ELSIF NOT EXISTS (SELECT FROM public.circuit_breakers WHERE scope = 'global' AND state <> 'closed') THEN
            PERFORM tollgate.trip('global', '', format('$%s were committed within a minute, over $%s',
                tollgate.usd(c.used), tollgate.usd(c.amount)), p_at);
        END IF;
    END LOOP;
END $$;

-- Whether the minute is full because of this ask rather than of what it has committed, or the ask would not
-- go over it (it asks for nothing): no runaway.
CREATE OR REPLACE FUNCTION tollgate.too_large(c tollgate.charge, usd numeric) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT usd > c.amount OR usd > c.used OR c.used + usd <= c.amount
$$;

CREATE OR REPLACE FUNCTION tollgate.wait_for_minute(
    c tollgate.charge, usd numeric, p_cured_at timestamptz, p_at timestamptz
) RETURNS tollgate.answer LANGUAGE sql IMMUTABLE AS $$
    SELECT tollgate.refusal(503, 'breaker_open', CASE WHEN usd > c.amount
        THEN format('the estimate alone is over $%s a minute: it needs "confirm": true and a minute without other spend',
            tollgate.usd(c.amount))
        ELSE format('$%s more does not fit into $%s a minute beside $%s: wait', tollgate.usd(usd),
            tollgate.usd(c.amount), tollgate.usd(c.used)) END,
        tollgate.seconds_until(p_cured_at, p_at))
$$;

-- The breakers in the way of an ask: those that are not closed.
CREATE OR REPLACE FUNCTION tollgate.open_breakers(p_wo text) RETURNS public.circuit_breakers[] LANGUAGE sql STABLE AS $$
    SELECT array_agg(c ORDER BY c.scope) FROM public.circuit_breakers c
    WHERE c.state <> 'closed' AND (c.scope = 'global' OR c.subject = p_wo)
$$;

-- The one that refuses: it has no place for a probe yet. Null where there is none.
CREATE OR REPLACE FUNCTION tollgate.waiting_breaker(p_wo text, p_at timestamptz) RETURNS public.circuit_breakers
LANGUAGE sql STABLE AS $$
    SELECT t FROM unnest(tollgate.open_breakers(p_wo)) t
    WHERE NOT tollgate.may_probe(t, p_at) ORDER BY t.scope LIMIT 1
$$;

CREATE OR REPLACE FUNCTION tollgate.breaker_refusal(c public.circuit_breakers, p_at timestamptz)
RETURNS tollgate.answer LANGUAGE sql IMMUTABLE AS $$
    SELECT tollgate.check_refusal('breaker_open', NULL,
        least(tollgate.seconds_until(c.half_open_at, p_at), CASE c.state WHEN 'half_open' THEN 5 END),
        CASE WHEN c.state = 'open' THEN c.half_open_at END)
$$;

-- By hand, and by commands: `p_trip` true opens, false resets. Returns null where nothing was to do.
CREATE OR REPLACE FUNCTION tollgate.switch_breaker_v1(
    p_scope text, p_subject text, p_trip boolean, p_reason text
) RETURNS public.circuit_breakers LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    c public.circuit_breakers;
    at timestamptz;
BEGIN
    PERFORM tollgate.hold_counters();
    at := tollgate.now();
    IF p_trip THEN
        RETURN tollgate.trip(p_scope, p_subject, p_reason, at);
    END IF;
    SELECT * INTO c FROM public.circuit_breakers
    WHERE scope = p_scope AND subject = p_subject AND state <> 'closed';
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN tollgate.close_breaker(c.id, p_reason, at);
END $$;

-- The kill switch in the way, if any; the widest first. `p_lineage`: of the token.
CREATE OR REPLACE FUNCTION tollgate.kill_switch(
    p_surface text, p_user text, p_agent text, p_lineage bigint
) RETURNS public.kill_switches LANGUAGE sql STABLE AS $$
    SELECT k FROM public.kill_switches k
    WHERE k.enabled AND (k.scope = 'Global' OR (k.scope = 'Surface' AND k.target = p_surface)
        OR (k.scope = 'Identity'
            AND (k.target IN ('user:' || p_user, 'agent:' || p_agent)
                -- A stop of any token of a line stops the line: rotation is no way around it.
                OR k.target IN (SELECT 'token:' || lower(t.prefix) FROM public.service_tokens t
                    WHERE t.lineage = p_lineage))))
    ORDER BY k.scope <> 'Global', k.scope <> 'Surface', k.id LIMIT 1
$$;

CREATE OR REPLACE FUNCTION tollgate.killed(k public.kill_switches) RETURNS tollgate.answer LANGUAGE sql IMMUTABLE AS $$
    SELECT tollgate.refusal(403, 'kill_switch', 'stopped by the kill switch of '
        || CASE k.scope WHEN 'Global' THEN 'everything' WHEN 'Surface' THEN 'surface ' || k.target
           ELSE k.target END)
$$;

-- Returns whether it was the other way.
CREATE OR REPLACE FUNCTION tollgate.set_feature(
    p_feature text, p_enabled boolean, p_why text, p_actor text, p_at timestamptz
) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    switched boolean;
BEGIN
    PERFORM set_config('tollgate.actor', p_actor, true), set_config('tollgate.reason', p_why, true);
    UPDATE public.feature_flags SET enabled = p_enabled, reason = p_why, changed_by = p_actor, changed_at = p_at
    WHERE feature = p_feature AND enabled <> p_enabled;
    switched := FOUND;
    PERFORM set_config('tollgate.actor', '', true), set_config('tollgate.reason', '', true);
    RETURN switched;
END $$;

-- A cost cap that committed dollars have reached switches its feature off, once.
CREATE OR REPLACE FUNCTION tollgate.switch_feature_off(p_feature text, c tollgate.charge, p_at timestamptz)
RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    why text := format('its cost cap of $%s in 60 minutes is reached ($%s used)',
        tollgate.usd(c.amount), tollgate.usd(c.used));
BEGIN
    IF tollgate.set_feature(p_feature, false, why, 'tollgate', p_at) THEN
        PERFORM tollgate.alert('feature_switched_off',
            format('feature_off:%s:%s', p_feature, extract(epoch FROM p_at)),
            format('Feature %s switched off: %s', p_feature, why), 'feature',
            (SELECT id::text FROM public.feature_flags WHERE feature = p_feature),
            jsonb_build_object('feature', p_feature, 'costCapUsd', c.amount::text,
                'usedUsd', c.used::text), p_at);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION tollgate.tell_kill_switch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tollgate.alert('kill_switch',
        format('kill_switch:%s:%s', NEW.id, extract(epoch FROM clock_timestamp())),
        format('Kill switch of %s turned %s',
            concat_ws(' ', lower(NEW.scope), nullif(NEW.target, '')),
            CASE WHEN NEW.enabled THEN 'on' ELSE 'off' END),
        'kill_switch', NEW.id::text,
        jsonb_build_object('scope', NEW.scope, 'target', NEW.target, 'enabled', NEW.enabled,
            'by', NEW.changed_by, 'reason', NEW.reason),
        clock_timestamp());
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER tell AFTER INSERT OR UPDATE OF enabled ON public.kill_switches
    FOR EACH ROW EXECUTE FUNCTION tollgate.tell_kill_switch();
