-- Seals of the log: numbered without gaps, chained, append-only.

CREATE FUNCTION tollgate_check_seal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last seals%ROWTYPE;
BEGIN
    SELECT * INTO last FROM seals ORDER BY number DESC LIMIT 1;
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
CREATE TRIGGER check_seal BEFORE INSERT ON seals
    FOR EACH ROW EXECUTE FUNCTION tollgate_check_seal();

-- A list of members fits its seal, or is not written.
CREATE FUNCTION tollgate_check_seal_members() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(NEW.event_ids) <> (SELECT event_count FROM seals WHERE number = NEW.seal) THEN
        RAISE EXCEPTION 'the members of seal % are not as many as it tells', NEW.seal
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER check_seal_members BEFORE INSERT ON seal_members
    FOR EACH ROW EXECUTE FUNCTION tollgate_check_seal_members();

ALTER TABLE seals
    ADD CONSTRAINT seals_lengths CHECK (
        length(previous) = 32 AND length(hash) = 32 AND length(root) = 32 AND length(signature) = 64);
ALTER TABLE seal_members
    ADD CONSTRAINT seal_members_lengths CHECK (
        cardinality(event_ids) > 0 AND length(leaf_hashes) = 32 * cardinality(event_ids)),
    -- Hashes cannot be compressed; trying costs.
    ALTER COLUMN leaf_hashes SET STORAGE EXTERNAL;
ALTER TABLE seal_keys
    ADD CONSTRAINT seal_keys_lengths CHECK (length(public_key) = 32 AND length(endorsement) = 64);
ALTER TABLE event_tombstones
    ADD CONSTRAINT event_tombstones_lengths CHECK (
        length(seals_digest) = 32 AND length(signature) = 64 AND date_trunc('month', month) = month);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['seals', 'seal_members', 'seal_keys', 'event_tombstones'] LOOP
        EXECUTE format(
            'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON %I '
            'FOR EACH ROW EXECUTE FUNCTION tollgate_refuse_change()', name);
        EXECUTE format(
            'CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON %I '
            'FOR EACH STATEMENT EXECUTE FUNCTION tollgate_refuse_change()', name);
    END LOOP;
END $$;

-- Which seal holds an event: late commits make the ranges of ids overlap a little.
CREATE INDEX seals_ids ON seals USING gist (int8range(first_id, last_id, '[]'))
    WHERE event_count > 0;

-- What is not sealed yet is at the end of the table: a block range index finds it, at a hundredth
-- of the size of a tree, and an insert hardly touches it.
CREATE INDEX operations_events_xact ON operations_events
    USING brin (xact) WITH (pages_per_range = 32, autosummarize = on);

-- When the oldest event was written that no seal covers yet; null where there is none.
CREATE FUNCTION tollgate_oldest_unsealed() RETURNS timestamptz
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    told pg_snapshot;
    after bigint;
    ceiling bigint;
    running bigint[];
BEGIN
    SELECT snapshot::pg_snapshot, after_id INTO told, after
    FROM seals ORDER BY number DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN (SELECT min(created_at) FROM operations_events);
    END IF;
    ceiling := pg_snapshot_xmax(told)::text::bigint;
    running := ARRAY(SELECT x::text::bigint FROM pg_snapshot_xip(told) x);
    RETURN (
        SELECT min(created_at) FROM operations_events
        WHERE (xact >= ceiling OR xact = ANY (running)) AND id > after);
END $$;
