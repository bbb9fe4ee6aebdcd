"""The kinds of events of this floor, in the order of their page."""

from opslog.events.registry import EventKind, Level

PLAIN, GOOD, WARNING, BAD = Level.PLAIN, Level.GOOD, Level.WARNING, Level.BAD
ROW = "`changes` `{column: {old, new}}`"
FIELDS = "`prefix`, `scopes`, `expiresAt`, `reason`"

KINDS = (
    EventKind("WORK_ORDER_CREATED", GOOD, "a work order was made", "`woId`, `maxConcurrentRuns`"),
    EventKind("WORK_ORDER_CHANGED", PLAIN, "its title or description changed", "old and new"),
    EventKind("WORK_ORDER_SUSPENDED", WARNING, "it was suspended", "`reason`"),
    EventKind("WORK_ORDER_RESUMED", GOOD, "it was resumed", "`reason`"),
    EventKind("RUN_CHANGED", BAD, "a run was written past the application", "`runId`, changes"),
    EventKind("RUN_DELETED", BAD, "a run was deleted past the application", "`runId`, the run"),
    EventKind("AGENT_REGISTERED", GOOD, "an agent is known", ROW),
    EventKind("AGENT_CHANGED", PLAIN, "an agent was changed, by anyone, SQL included", ROW),
    EventKind(
        "TOKEN_CREATED",
        GOOD,
        "a token was made",
        f"{FIELDS}; of a successor `predecessor`, `lineage`",
    ),
    EventKind(
        "TOKEN_ROTATED",
        PLAIN,
        "a token has a successor",
        "`prefix`, `successor`, `successorPrefix`, `lineage`, `validUntil`, `reason`",
    ),
    EventKind("TOKEN_REVOKED", WARNING, "a token was revoked", "`prefix`, `reason`"),
    EventKind("TOKEN_CHANGED", WARNING, "a token was changed past the application", ROW),
    EventKind("TOKEN_DELETED", WARNING, "a token was deleted past the application", ROW),
    EventKind(
        "TOKEN_POLICY_CHANGE", PLAIN, "how long tokens are valid changed", "`changes`, `reason`"
    ),
)
