-- Refusals in the log: no token can flood it, and none of its refusals is lost.
--
-- A kind is what was asked (start, extension), the work order, and the denial with its words. In each second the first
-- refusal of a kind, and every refusal of a cap, is an event of its own, up to `p_a_second` events for
-- each line of tokens. What is beyond waits in a group of its kind, committed with the refusal, and
-- becomes one event with `count` once its second is over: with a later refusal of the line, or by
-- the job of every minute. So the sum of tollgate.times(meta) is exact, and an event is never changed.

-- What becomes of a refusal. (Found in one query, and little besides: of refusals there are many.)
CREATE TYPE tollgate.refusal_place AS (
    lineage bigint,
    name text,            -- of the kind
    second timestamptz,
    recorded text[],      -- kinds with an event of their own in this second
    "grouped" boolean,    -- some of this line may wait in groups
    of_cap boolean,       -- each ask that a cap refused is kept, for what other caps would have admitted
    alone boolean         -- gets an event of its own
);

CREATE OR REPLACE FUNCTION tollgate.refusal_place(
    p_lineage bigint, p_asked text, p_wo text, p_denial text, p_error text, p_at timestamptz,
    p_a_second integer
) RETURNS SETOF tollgate.refusal_place LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT p_lineage, v.name, v.second, v.recorded, v."grouped", v.of_cap,
        cardinality(v.recorded) < p_a_second AND (v.of_cap OR NOT v.name = ANY (v.recorded))
    FROM (
        SELECT concat_ws(' ', p_asked, p_wo, p_denial, p_error) AS name, date_trunc('second', p_at) AS second,
            CASE WHEN t.second = date_trunc('second', p_at) THEN t.recorded ELSE '{}' END AS recorded,
            coalesce(t."grouped", false) AS "grouped",
            p_denial IN ('runs_per_day', 'usd_per_day') AS of_cap
        FROM (VALUES (p_lineage)) AS asked (lineage)
        LEFT JOIN public.refusal_tallies t ON t.lineage = asked.lineage) v
$$;

CREATE OR REPLACE FUNCTION tollgate.record_refusal(
    p_place tollgate.refusal_place, p_event tollgate.event, p_at timestamptz, p_a_second integer
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    who text;
    kept integer;
BEGIN
    IF p_place.alone THEN
        IF p_place."grouped" THEN
            PERFORM tollgate.flush_refusals(p_place.lineage, p_place.second, p_a_second);
        END IF;
        INSERT INTO public.refusal_tallies (lineage, second, recorded, "grouped")
        VALUES (p_place.lineage, p_place.second, p_place.recorded || p_place.name,
            p_place."grouped" AND EXISTS (SELECT FROM public.refusal_groups g WHERE g.lineage = p_place.lineage))
        ON CONFLICT (lineage) DO UPDATE SET second = excluded.second, recorded = excluded.recorded,
            "grouped" = excluded."grouped";
        PERFORM tollgate.record(p_event);
        RETURN;
    END IF;
    IF NOT p_place."grouped" THEN
        UPDATE public.refusal_tallies SET "grouped" = true WHERE lineage = p_place.lineage;
    END IF;
    who := p_event.meta->>'agentName';
    INSERT INTO public.refusal_groups AS g (lineage, name, kind, message, wo_id, wo_title, actor, request_id,
        meta, times, agents, first_at, last_at)
    VALUES (p_place.lineage, p_place.name, p_event.kind, p_event.message, p_event.owner_id, p_event.owner_label,
        p_event.actor, p_event.request_id, p_event.meta, 1, '{}', p_at, p_at)
    ON CONFLICT (lineage, name) DO UPDATE SET times = g.times + 1, last_at = excluded.last_at,
        -- How often others than the first were refused; beyond twenty of them together, since names
        -- are the client's to choose.
        agents = CASE WHEN g.meta->>'agentName' = who THEN g.agents ELSE (
            SELECT g.agents || jsonb_build_object(a, coalesce((g.agents->>a)::integer, 0) + 1)
            FROM (SELECT CASE WHEN g.agents ? who OR (SELECT count(*) FROM jsonb_object_keys(g.agents)) < 20
                THEN who ELSE '' END AS a) v) END
    RETURNING g.times INTO kept;
    IF p_place.of_cap THEN
        -- After the group, whose row is the lock that flush_refusals takes.
        INSERT INTO public.refused_asks (lineage, name, at, agent_name, ask_key, estimated_usd, runs_today, usd_today)
        SELECT p_place.lineage, p_place.name, p_at, who, m->>'askKey', m->>'estimatedUsd', m->>'runsToday', m->>'usdToday'
        FROM (VALUES (p_event.meta)) AS v (m);
        IF kept >= 50 THEN
            PERFORM tollgate.flush_refusals(p_place.lineage, 'infinity', 1, p_place.name);
        END IF;
    END IF;
END $$;

-- Writes the events of groups whose last refusal was before `p_before`, and removes the groups. Null
-- for all lines, or for all names of a line. Returns how many.
CREATE OR REPLACE FUNCTION tollgate.flush_refusals(
    p_lineage bigint, p_before timestamptz, p_most integer, p_name text DEFAULT NULL
) RETURNS integer LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    lines bigint[];
    names text[];
    written integer;
BEGIN
    -- Locked first, read after: a group that is locked gets no more asks, and the next statement sees
    -- all that it has.
    SELECT array_agg(l.lineage), array_agg(l.name) INTO lines, names FROM (
        SELECT g.lineage, g.name FROM public.refusal_groups g
        -- (One that a clock that was ahead has dated later than now is over, too.)
        WHERE (g.last_at < p_before OR g.last_at > tollgate.now()) AND (p_lineage IS NULL OR g.lineage = p_lineage)
            AND (p_name IS NULL OR g.name = p_name)
        ORDER BY g.last_at, g.lineage, g.name LIMIT p_most FOR UPDATE SKIP LOCKED) l;
    IF lines IS NULL THEN
        RETURN 0;
    END IF;
    WITH due AS (
        DELETE FROM public.refusal_groups g USING unnest(lines, names) p (lineage, name)
        WHERE g.lineage = p.lineage AND g.name = p.name RETURNING g.*
    ), gone AS (
        DELETE FROM public.refused_asks a USING unnest(lines, names) p (lineage, name)
        WHERE a.lineage = p.lineage AND a.name = p.name RETURNING a.*
    ), asked AS (
        SELECT lineage, name, jsonb_agg(jsonb_build_object('at', tollgate.rfc3339(at),
            'agentName', agent_name, 'askKey', ask_key, 'estimatedUsd', estimated_usd,
            'runsToday', runs_today, 'usdToday', usd_today) ORDER BY id) AS asks
        FROM gone GROUP BY lineage, name
    )
    INSERT INTO public.operations_events
        (kind, message, owner_type, owner_id, owner_label, actor, meta, request_id)
    SELECT d.kind, CASE WHEN d.times > 1 THEN format('%s (%s times)', d.message, d.times) ELSE d.message END,
        'work_order', d.wo_id, d.wo_title, d.actor,
        d.meta || jsonb_build_object('count', d.times, 'firstAt', tollgate.rfc3339(d.first_at),
                'lastAt', tollgate.rfc3339(d.last_at))
            || CASE WHEN d.agents = '{}' THEN '{}' ELSE jsonb_build_object('agents', d.agents
                || jsonb_build_object(d.meta->>'agentName', d.times
                    - (SELECT sum(v.value::integer) FROM jsonb_each_text(d.agents) v))) END
            || CASE WHEN a.asks IS NULL THEN '{}' ELSE jsonb_build_object('asks', a.asks) END,
        d.request_id
    FROM due d LEFT JOIN asked a ON a.lineage = d.lineage AND a.name = d.name ORDER BY d.first_at;
    GET DIAGNOSTICS written = ROW_COUNT;
    RETURN written;
END $$;

-- For the job. As with any refusal, nobody waits until its event is on disk; a group has no other
-- holder for longer than that.
CREATE OR REPLACE FUNCTION tollgate.flush_refusals_v1(p_most integer) RETURNS integer
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    written integer := tollgate.flush_refusals(NULL, date_trunc('second', tollgate.now()), p_most);
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    RETURN written;
END $$;
