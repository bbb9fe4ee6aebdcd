-- That somebody was reminded of the follow-up is noted after the review.
CREATE OR REPLACE FUNCTION tollgate.keep_reviewed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR to_jsonb(NEW) - 'reminded_at' IS DISTINCT FROM to_jsonb(OLD) - 'reminded_at' THEN
        RAISE EXCEPTION 'incident % is reviewed: it changes no more', OLD.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER keep_reviewed BEFORE UPDATE OR DELETE ON public.incidents
    FOR EACH ROW WHEN (OLD.state = 'reviewed') EXECUTE FUNCTION tollgate.keep_reviewed();
