"""The statements that are measured without HTTP: the floor, and the admission call itself."""

import hashlib
from collections.abc import Sequence

ADMISSION = (
    "CALL tollgate.start_v1($1, $2, $3, $4, $5, NULL, NULL, 900, NULL, '', '', '', '', '', false,"
    " false, $6, $7, 'bench', NULL, 86400, true, 5.00, 20" + ", NULL" * 10 + ")"
)
# One that names everything that a limit can be held over.
NAMED_ADMISSION = ADMISSION.replace(
    "NULL, '', '', '', '', ''", "100, 'bench-model', 'middle', 'bench-user', 'cli', 'bench-feature'"
)
PLAIN_ADMISSION = (
    "SELECT * FROM tollgate.start_run_v1($1, $2, $3, $4, $5, NULL, NULL, 900, NULL, '', '', '', '',"
    " '', false, false, $6, $7, 'bench', NULL, 86400, true, 5.00, 20)"
)
# What must be written in any case: the same two rows, the same indexes, triggers and constraints,
# one synchronous commit; nothing is decided, and nothing is locked that others want.
FLOOR = """
WITH given AS (SELECT uuidv7() AS id, clock_timestamp() AS at), run AS (
    INSERT INTO work_order_runs (id, wo_id, agent_name, agent_known, status, reserved_usd, day,
        started_at, lease_expires_at, lease_seconds, model, user_id, surface, feature, source_ip,
        idempotency_key, token_id, charged_to)
    SELECT id, $3, $4, true, 'running', $5, at::date, at, at + interval '900 seconds', 900, '', '',
        '', '', $2, $6, 1, '{1,2,3,4,5}' FROM given)
INSERT INTO operations_events
    (kind, message, owner_type, owner_id, owner_label, actor, meta, request_id)
SELECT 'WORK_ORDER_START', $4::text || ' started', 'work_order', $3, $3, 'bench',
    jsonb_build_object('woId', $3::text, 'woTitle', $3::text, 'agentName', $4::text,
        'agentKnown', true, 'runId', id, 'sourceIp', host($2::inet),
        'estimatedUsd', $5::numeric::text, 'askKey', nullif($6::text, ''),
        'tokenName', encode($1::bytea, 'hex'), 'print', length($7::bytea)),
    'bench'
FROM given RETURNING meta->>'runId'
"""


def parameters(token: str, work_orders: Sequence[str]) -> list[list[bytes | None]]:
    """One list of parameters, in text format, for each work order."""
    told = "\\x" + hashlib.sha256(token.encode()).hexdigest()
    print_ = "\\x" + hashlib.sha256(b"bench").hexdigest()
    return [
        [told.encode(), b"127.0.0.1", name.encode(), b"bench", b"0.01", b"", print_.encode()]
        for name in work_orders
    ]
