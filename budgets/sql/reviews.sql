-- A review is closed by the signatures of two people to one state of it, or by the two of a solo operator
-- (solo.sql), and is final then.

CREATE OR REPLACE FUNCTION tollgate.guard_review() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tollgate.forbid(OLD.status = 'closed', format('the review of %s is closed; that is final', OLD.month));
    PERFORM tollgate.forbid(NEW.month <> OLD.month, 'a review stays that of its month');
    PERFORM tollgate.forbid(NEW.status = 'closed' AND (
        SELECT count(DISTINCT s.person_id) FROM public.review_signatures s
        WHERE s.review_id = NEW.id AND s.state = NEW.closed_state) < 2
        AND NOT EXISTS (
            SELECT FROM public.review_signatures s
            WHERE s.review_id = NEW.id AND s.state = NEW.closed_state AND s.second_factor_at IS NOT NULL),
        format('two people must sign the same state of the review of %s', OLD.month));
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER guard_review BEFORE UPDATE ON public.monthly_reviews
    FOR EACH ROW EXECUTE FUNCTION tollgate.guard_review();
CREATE OR REPLACE TRIGGER append_only BEFORE DELETE ON public.monthly_reviews
    FOR EACH ROW EXECUTE FUNCTION tollgate.refuse_change();

CREATE OR REPLACE FUNCTION tollgate.guard_review_part() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tollgate.forbid(EXISTS (SELECT FROM public.monthly_reviews r WHERE r.id = NEW.review_id AND r.status = 'closed'),
        'the review is closed; that is final');
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER guard_open BEFORE INSERT OR UPDATE ON public.review_checks
    FOR EACH ROW EXECUTE FUNCTION tollgate.guard_review_part();
CREATE OR REPLACE TRIGGER guard_open BEFORE INSERT ON public.review_decisions
    FOR EACH ROW EXECUTE FUNCTION tollgate.guard_review_part();
CREATE OR REPLACE TRIGGER guard_open BEFORE INSERT ON public.review_signatures
    FOR EACH ROW EXECUTE FUNCTION tollgate.guard_review_part();
CREATE OR REPLACE FUNCTION tollgate.guard_signature() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.at := clock_timestamp();
    IF NEW.second_factor_at IS NOT NULL THEN
        PERFORM tollgate.check_solo(NEW.person_id, (
            SELECT s.at FROM public.review_signatures s
            WHERE s.review_id = NEW.review_id AND s.state = NEW.state AND s.person_id = NEW.person_id),
            NEW.second_factor_at);
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER guard_signature BEFORE INSERT ON public.review_signatures
    FOR EACH ROW EXECUTE FUNCTION tollgate.guard_signature();
CREATE OR REPLACE TRIGGER append_only BEFORE DELETE ON public.review_checks
    FOR EACH ROW EXECUTE FUNCTION tollgate.refuse_change();
