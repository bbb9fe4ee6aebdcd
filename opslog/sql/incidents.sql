-- The timeline is append-only, and a reviewed incident never changes again.

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON incident_entries
    FOR EACH ROW EXECUTE FUNCTION tollgate_refuse_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON incident_entries
    FOR EACH STATEMENT EXECUTE FUNCTION tollgate_refuse_change();

-- That somebody was reminded of the follow-up is noted after the review.
CREATE FUNCTION tollgate_keep_reviewed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR to_jsonb(NEW) - 'reminded_at' IS DISTINCT FROM to_jsonb(OLD) - 'reminded_at' THEN
        RAISE EXCEPTION 'incident % is reviewed: it changes no more', OLD.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_reviewed BEFORE UPDATE OR DELETE ON incidents
    FOR EACH ROW WHEN (OLD.state = 'reviewed') EXECUTE FUNCTION tollgate_keep_reviewed();
