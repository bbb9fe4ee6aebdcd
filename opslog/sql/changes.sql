-- Change markers are kept as they were told: what an incident was judged by must not move.

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON change_markers
    FOR EACH ROW EXECUTE FUNCTION tollgate_refuse_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON change_markers
    FOR EACH STATEMENT EXECUTE FUNCTION tollgate_refuse_change();
