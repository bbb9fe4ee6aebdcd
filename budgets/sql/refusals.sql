-- Refusals in the log: no token can flood it, and none of its refusals is lost.
--
-- A kind is what was asked (start, extend), the work order and the denial. In each second the first
-- refusal of a kind, and every refusal of a cap, is an event of its own, up to `p_a_second` events for
-- each line of tokens. What is beyond waits in a group of its kind, committed with the refusal, and
-- becomes one event with `count` once its second is over: with a later refusal of the line, or by
-- the job of every minute. So the sum of tollgate.times(meta) is exact, and an event is never changed.

CREATE OR REPLACE FUNCTION tollgate.record_refusal(
    b tollgate.bearer, p_asked text, p_answer tollgate.answer, p_message text, p_wo text, p_title text,
    p_meta jsonb, p_request_id text, p_at timestamptz, p_a_second integer
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    -- Each ask that a cap refused is kept, for what other caps would have admitted.
    of_cap boolean := p_answer.denial IN ('runs_per_day', 'usd_per_day');
    event_kind text := CASE WHEN p_answer.status = 429 THEN 'RATE_LIMIT_429'
        ELSE upper(p_asked) || '_REFUSED' END;
    called text := p_asked || ' ' || p_wo || ' ' || p_answer.denial;
    who text := p_meta->>'agentName';
    ask jsonb;
    tally record;
    kept integer;
BEGIN
    INSERT INTO public.refusal_tallies AS t (lineage, second, recorded, alone, "grouped")
    VALUES (b.lineage, date_trunc('second', p_at), ARRAY[called], true, false)
    ON CONFLICT (lineage) DO UPDATE SET (second, recorded, alone, "grouped") = (SELECT excluded.second,
        CASE WHEN NOT o.same THEN excluded.recorded
            WHEN o.own THEN t.recorded || excluded.recorded ELSE t.recorded END,
        NOT o.same OR o.own, t."grouped" OR (o.same AND NOT o.own)
        FROM (SELECT t.second = excluded.second AS same, cardinality(t.recorded) < p_a_second
                  AND (of_cap OR NOT called = ANY (t.recorded)) AS own) o)
    RETURNING t.second, t.alone, t."grouped" INTO tally;
    IF tally.alone THEN
        IF tally."grouped" THEN
            PERFORM tollgate.flush_refusals(b.lineage, tally.second, p_a_second);
            UPDATE public.refusal_tallies SET "grouped" = EXISTS (
                SELECT FROM public.refusal_groups g WHERE g.lineage = b.lineage) WHERE lineage = b.lineage;
        END IF;
        INSERT INTO public.operations_events
            (kind, message, owner_type, owner_id, owner_label, actor, meta, request_id)
        VALUES (event_kind, p_message, 'work_order', p_wo, p_title, b.actor, p_meta, p_request_id);
        RETURN;
    END IF;
    IF of_cap THEN
        ask := jsonb_build_array(jsonb_build_object('at', p_at, 'agentName', who,
            'askKey', p_meta->'askKey', 'estimatedUsd', p_meta->'estimatedUsd',
            'runsToday', p_meta->'runsToday', 'usdToday', p_meta->'usdToday'));
    END IF;
    INSERT INTO public.refusal_groups AS g (lineage, name, kind, message, wo_id, wo_title, actor, request_id,
        meta, times, agents, asks, first_at, last_at)
    VALUES (b.lineage, called, event_kind, p_message, p_wo, p_title, b.actor, p_request_id, p_meta, 1,
        jsonb_build_object(who, 1), coalesce(ask, '[]'), p_at, p_at)
    ON CONFLICT (lineage, name) DO UPDATE SET times = g.times + 1, last_at = excluded.last_at,
        message = excluded.message, request_id = excluded.request_id, meta = excluded.meta,
        asks = g.asks || excluded.asks,
        -- Of twenty agents by name, of others together: names are the client's to choose.
        agents = (SELECT jsonb_set(g.agents, ARRAY[a], to_jsonb(coalesce((g.agents->>a)::integer, 0) + 1))
            FROM (SELECT CASE WHEN g.agents ? who OR (SELECT count(*) FROM jsonb_object_keys(g.agents)) < 20
                THEN who ELSE '' END AS a) v)
    RETURNING jsonb_array_length(g.asks) INTO kept;
    IF kept >= 50 THEN
        PERFORM tollgate.flush_refusals(b.lineage, 'infinity', 1, called);
    END IF;
END $$;

-- Writes the events of groups whose last refusal was before `p_before`, and removes the groups. Null
-- for all lines, or for all names of a line. Gives how many.
CREATE OR REPLACE FUNCTION tollgate.flush_refusals(
    p_lineage bigint, p_before timestamptz, p_most integer, p_name text DEFAULT NULL
) RETURNS integer LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    written integer;
BEGIN
    WITH due AS (
        DELETE FROM public.refusal_groups g USING (
            SELECT lineage, name FROM public.refusal_groups
            WHERE last_at < p_before AND (p_lineage IS NULL OR lineage = p_lineage)
                AND (p_name IS NULL OR name = p_name)
            ORDER BY last_at LIMIT p_most FOR UPDATE SKIP LOCKED) d
        WHERE g.lineage = d.lineage AND g.name = d.name RETURNING g.*
    )
    INSERT INTO public.operations_events
        (kind, message, owner_type, owner_id, owner_label, actor, meta, request_id)
    SELECT kind, CASE WHEN times > 1 THEN format('%s (%s times)', message, times) ELSE message END,
        'work_order', wo_id, wo_title, actor,
        meta || jsonb_build_object('count', times, 'firstAt', tollgate.rfc3339(first_at),
                'lastAt', tollgate.rfc3339(last_at))
            || CASE WHEN (SELECT count(*) FROM jsonb_object_keys(agents)) > 1
                THEN jsonb_build_object('agents', agents) ELSE '{}' END
            || CASE WHEN asks <> '[]' THEN jsonb_build_object('asks', asks) ELSE '{}' END,
        request_id
    FROM due ORDER BY first_at;
    GET DIAGNOSTICS written = ROW_COUNT;
    RETURN written;
END $$;

-- For the job. As with any refusal, nobody waits until its event is on disk; a group has no other
-- holder for longer than that.
CREATE OR REPLACE FUNCTION tollgate.flush_refusals_v1(p_most integer) RETURNS integer
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    RETURN tollgate.flush_refusals(NULL, date_trunc('second', tollgate.now()), p_most);
END $$;
