-- A reviewed incident is immutable, with two exceptions: that somebody was reminded of the follow-up,
-- and that it is active again, because it was closed while it still cost money (the answers stay as a draft).
CREATE OR REPLACE FUNCTION tollgate.keep_reviewed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    kept text[] := ARRAY['reminded_at'];
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.state IN ('detected', 'triaged', 'mitigating') AND NEW.reopenings = OLD.reopenings + 1 THEN
        kept := kept || ARRAY['state', 'reopenings', 'reopened_at', 'stabilised_at', 'reviewed_at', 'reviewed_by',
            'escalation', 'escalated_at', 'checks_told'];
    END IF;
    PERFORM tollgate.forbid(TG_OP = 'DELETE' OR to_jsonb(NEW) - kept IS DISTINCT FROM to_jsonb(OLD) - kept,
        format('incident %s is reviewed: it changes no more', OLD.id));
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER keep_reviewed BEFORE UPDATE OR DELETE ON public.incidents
    FOR EACH ROW WHEN (OLD.state = 'reviewed') EXECUTE FUNCTION tollgate.keep_reviewed();
