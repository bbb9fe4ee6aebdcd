-- What a limit or a switch is held over is stored in its one spelling, whoever writes it: else it would
-- be kept and not enforced.
CREATE OR REPLACE FUNCTION tollgate.name_limit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.scope = 'address' AND NEW.subject <> '*' AND position('/' IN NEW.subject) > 0 THEN
        RAISE EXCEPTION 'a limit is held over one address, not over the network %', NEW.subject
            USING ERRCODE = 'check_violation';
    END IF;
    NEW.subject := CASE
        WHEN NEW.subject IN ('', '*') THEN NEW.subject
        WHEN NEW.scope = 'model' THEN tollgate.model_name(NEW.subject)
        WHEN NEW.scope = 'address' THEN host(NEW.subject::inet)   -- one address; a network is no subject
        ELSE tollgate.identity(NEW.subject) END;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER canonical_names BEFORE INSERT OR UPDATE OF scope, subject ON public.budgets
    FOR EACH ROW EXECUTE FUNCTION tollgate.name_limit();

CREATE OR REPLACE FUNCTION tollgate.switch_target(p_scope text, p_target text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN p_scope = 'Identity' AND position(':' IN p_target) > 0
            THEN tollgate.identity(split_part(p_target, ':', 1)) || ':'
                || tollgate.identity(substr(p_target, position(':' IN p_target) + 1))
        ELSE tollgate.identity(p_target) END
$$;
CREATE OR REPLACE FUNCTION tollgate.name_switch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.target := tollgate.switch_target(NEW.scope, NEW.target);
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER canonical_names BEFORE INSERT OR UPDATE OF scope, target ON public.kill_switches
    FOR EACH ROW EXECUTE FUNCTION tollgate.name_switch();

CREATE OR REPLACE TRIGGER canonical_names BEFORE INSERT OR UPDATE OF feature ON public.feature_flags
    FOR EACH ROW EXECUTE FUNCTION tollgate.canonical_names('feature');
CREATE OR REPLACE TRIGGER canonical_names BEFORE INSERT OR UPDATE OF feature ON public.hotspots
    FOR EACH ROW EXECUTE FUNCTION tollgate.canonical_names('feature');
