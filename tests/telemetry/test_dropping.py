"""What the routine that drops with the owner's rights leaves alone."""

from django.db import connections


def test_the_routine_drops_partitions_of_telemetry_alone(committed_db: str) -> None:
    """Tables that are called as such, and partitions of theirs that are called otherwise, stay."""
    with connections["owner"].cursor() as cursor:
        cursor.execute("CREATE TABLE inference_events_2020_01_07 ()")
        cursor.execute("CREATE TABLE operations_events_2020_01_06 ()")
        cursor.execute(
            "CREATE TABLE keep_2020_01_06 PARTITION OF inference_events "
            "FOR VALUES FROM ('2020-01-06 00:00Z') TO ('2020-01-13 00:00Z')"
        )
        cursor.execute("SELECT tollgate.drop_telemetry_partitions_v1(7)")
        for name in ("inference_events_2020_01_07", "operations_events_2020_01_06"):
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name])
            assert cursor.fetchone()[0], name
        cursor.execute(
            "SELECT count(*) FROM pg_inherits WHERE inhrelid = 'keep_2020_01_06'::regclass"
        )
        assert cursor.fetchone()[0] == 1
