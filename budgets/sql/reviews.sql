-- A review is closed by the signatures of two people to one state of it, and is final then.

CREATE FUNCTION tollgate_guard_review() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status = 'closed' THEN
        RAISE EXCEPTION 'the review of % is closed; that is final', OLD.month
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.month <> OLD.month THEN
        RAISE EXCEPTION 'a review stays that of its month' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.status = 'closed' AND (
        SELECT count(DISTINCT s.person_id) FROM review_signatures s
        WHERE s.review_id = NEW.id AND s.state = NEW.closed_state) < 2 THEN
        RAISE EXCEPTION 'two people must sign the same state of the review of %', OLD.month
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_review BEFORE UPDATE ON monthly_reviews
    FOR EACH ROW EXECUTE FUNCTION tollgate_guard_review();
CREATE TRIGGER append_only BEFORE DELETE ON monthly_reviews
    FOR EACH ROW EXECUTE FUNCTION tollgate_refuse_change();

CREATE FUNCTION tollgate_guard_review_part() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM monthly_reviews r WHERE r.id = NEW.review_id AND r.status = 'closed') THEN
        RAISE EXCEPTION 'the review is closed; that is final' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_open BEFORE INSERT OR UPDATE ON review_checks
    FOR EACH ROW EXECUTE FUNCTION tollgate_guard_review_part();
CREATE TRIGGER guard_open BEFORE INSERT ON review_decisions
    FOR EACH ROW EXECUTE FUNCTION tollgate_guard_review_part();
CREATE TRIGGER guard_open BEFORE INSERT ON review_signatures
    FOR EACH ROW EXECUTE FUNCTION tollgate_guard_review_part();
CREATE TRIGGER append_only BEFORE DELETE ON review_checks
    FOR EACH ROW EXECUTE FUNCTION tollgate_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON review_decisions
    FOR EACH ROW EXECUTE FUNCTION tollgate_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON review_signatures
    FOR EACH ROW EXECUTE FUNCTION tollgate_refuse_change();
