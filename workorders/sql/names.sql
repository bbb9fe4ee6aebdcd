-- Names that limits compare have one spelling (opslog/sql/identities.sql).
CREATE OR REPLACE TRIGGER canonical_names BEFORE INSERT OR UPDATE OF surface, feature ON public.service_tokens
    FOR EACH ROW EXECUTE FUNCTION tollgate.canonical_names('surface', 'feature');
CREATE OR REPLACE TRIGGER canonical_names BEFORE INSERT OR UPDATE OF team ON public.work_orders
    FOR EACH ROW EXECUTE FUNCTION tollgate.canonical_names('team');

-- An agent keeps the spelling that it was first written with, to be shown.
CREATE OR REPLACE FUNCTION tollgate.name_agent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.label = '' THEN
        NEW.label := NEW.name;
    END IF;
    NEW.name := tollgate.identity(NEW.name);
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER canonical_names BEFORE INSERT OR UPDATE OF name ON public.agents
    FOR EACH ROW EXECUTE FUNCTION tollgate.name_agent();
