-- Seals of the log: numbered without gaps, chained, append-only.

CREATE OR REPLACE FUNCTION tollgate.check_seal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last public.seals%ROWTYPE;
BEGIN
    SELECT * INTO last FROM public.seals ORDER BY number DESC LIMIT 1;
    IF NEW.number <> coalesce(last.number, 0) + 1 THEN
        RAISE EXCEPTION 'the next seal is no. %, not %', coalesce(last.number, 0) + 1, NEW.number
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.previous <> coalesce(last.hash, decode(repeat('00', 32), 'hex')) THEN
        RAISE EXCEPTION 'seal % does not name the seal before it', NEW.number
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER check_seal BEFORE INSERT ON public.seals
    FOR EACH ROW EXECUTE FUNCTION tollgate.check_seal();

-- A list of members fits its seal, or is not written.
CREATE OR REPLACE FUNCTION tollgate.check_seal_members() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(NEW.event_ids) <> (SELECT event_count FROM public.seals WHERE number = NEW.seal) THEN
        RAISE EXCEPTION 'the members of seal % are not as many as it tells', NEW.seal
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER check_seal_members BEFORE INSERT ON public.seal_members
    FOR EACH ROW EXECUTE FUNCTION tollgate.check_seal_members();

-- When the oldest event was written that no seal covers yet; null where there is none.
CREATE OR REPLACE FUNCTION tollgate.oldest_unsealed_v1() RETURNS timestamptz
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    covered pg_snapshot;
    after bigint;
    ceiling bigint;
    running bigint[];
BEGIN
    SELECT snapshot::pg_snapshot, after_id INTO covered, after
    FROM public.seals ORDER BY number DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN (SELECT min(created_at) FROM public.operations_events);
    END IF;
    ceiling := pg_snapshot_xmax(covered)::text::bigint;
    running := ARRAY(SELECT x::text::bigint FROM pg_snapshot_xip(covered) x);
    RETURN (
        SELECT min(created_at) FROM public.operations_events
        WHERE (xact >= ceiling OR xact = ANY (running)) AND id > after);
END $$;
