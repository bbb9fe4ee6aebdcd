"""The kinds of events of this floor, in the order of their page."""

from opslog.events.registry import EventKind, Level

PLAIN, GOOD, WARNING, BAD = Level.PLAIN, Level.GOOD, Level.WARNING, Level.BAD
REFUSED = (
    "`woId`, `woTitle`, `agentName`, `reason` (the denial), `runsToday`, `usdToday`, `cap`, "
    "`estimatedUsd`, `askKey`, `sourceIp`; `budgetId` where a shared limit refused, `feature` "
    "where one was given"
)
COST = "`runId` or `spendId`, `costUsd`, `reservedUsd`, `tokenName`, `owner`"
CORRECTION = "`before`, `after`, `reason`, `people`"
REQUEST = (
    "`requestId`, `changes`, `reason`; of a program's request `tokenName`, `tokenPrefix`, "
    "`tokenOwner`, `tokenMaker`"
)
APPROVED = "`reason`, `approvers`, `approvalLevel`, `approvalDate`"
CHANGE = "`changes` `{column: {old, new}}`, `reason`"
ACCOUNT = "`changeId`, `wanted`, `proposedBy`, `reason`"
ALERT = "figures; the event's `message` has the words"

KINDS = (
    EventKind(
        "WORK_ORDER_START",
        PLAIN,
        "a run was admitted",
        "`woId`, `woTitle`, `agentName`, `agentKnown`, `runId`, `sourceIp`, `estimatedUsd`, "
        "`askKey`, `tokenName`",
    ),
    EventKind("RATE_LIMIT_429", WARNING, "a start or an extension was refused with 429", REFUSED),
    EventKind("START_REFUSED", WARNING, "a start was refused otherwise", REFUSED),
    EventKind("EXTENSION_REFUSED", WARNING, "an extension was refused otherwise", REFUSED),
    EventKind(
        "RUN_EXTENDED",
        PLAIN,
        "more money for a run (a renewal alone leaves none)",
        "`runId`, `additionalUsd`, `reservedUsd`",
    ),
    EventKind(
        "RUN_FINISHED", PLAIN, "a run was settled", "`status`, `reservedUsd`, `costUsd`, `costNote`"
    ),
    EventKind(
        "RUN_FINISHED_LATE",
        WARNING,
        "a run was settled after its lease",
        "`status`, `reservedUsd`, `costUsd`, `costNote`, `expiredCostUsd`",
    ),
    EventKind("RUN_EXPIRED", WARNING, "the lease of a run ended", "`reservedUsd`, `costUsd`"),
    EventKind("RUN_OVERRUN", WARNING, "a run cost more than was reserved", "`overrunUsd`"),
    EventKind(
        "LLM_SPEND",
        PLAIN,
        "a call that a program made by itself, reported at `/v1/llm/spend`",
        "`spendId`, `costUsd`, `tokens`, `model`, `userId`, `feature`, `tokenName`",
    ),
    EventKind("COST_SURPRISE", BAD, "a cost far above its reservation", COST),
    EventKind("COST_REFUSED", BAD, "a cost over the ceiling of its token", COST),
    EventKind(
        "COST_UNPRICED",
        WARNING,
        "usage without a price, once a day for a work order and model",
        "`runId`, `model`, `settledUsd`",
    ),
    EventKind("COST_RULE_CHANGE", PLAIN, "the rule of critical costs changed", CHANGE),
    EventKind(
        "COST_CORRECTION_REQUESTED", PLAIN, "a correction waits for a second person", CORRECTION
    ),
    EventKind("COST_CORRECTION_REFUSED", WARNING, "the second person refused it", CORRECTION),
    EventKind("COST_CORRECTION_STALE", WARNING, "the cost has changed meanwhile", CORRECTION),
    EventKind(
        "COST_CORRECTED",
        PLAIN,
        "a person corrected a cost",
        f"{CORRECTION}, `approvers`, `approvalLevel`",
    ),
    EventKind(
        "COUNTERS_REPAIRED", WARNING, "`verify_counters --repair`", "each counter, old and new"
    ),
    EventKind("CAP_CHANGE_REQUESTED", PLAIN, "a higher cap or limit was requested", REQUEST),
    EventKind("CAP_CHANGE_EDITED", PLAIN, "the request was edited", REQUEST),
    EventKind("CAP_CHANGE_APPROVED", GOOD, "an approver signed; others may have to", REQUEST),
    EventKind("CAP_CHANGE_REFUSED", WARNING, "an approver refused", REQUEST),
    EventKind("CAP_CHANGE_CANCELLED", PLAIN, "the requester took it back", REQUEST),
    EventKind("CAP_CHANGE_EXPIRED", WARNING, "nobody decided in time", REQUEST),
    EventKind("CAP_CHANGE_STALE", WARNING, "the cap has changed meanwhile", REQUEST),
    EventKind("CAP_CHANGE_SET_ASIDE", PLAIN, "an administrator closed it undecided", REQUEST),
    EventKind(
        "CAP_CHANGE_VOTE", BAD, "a vote was written past the application", "`requestId`, vote"
    ),
    EventKind(
        "WORK_ORDER_CAP_CHANGE",
        GOOD,
        "the caps of a work order changed",
        f"`changes` `{{field: {{old, new}}}}`, {APPROVED}; of one cap `previousCap`, `newCap`",
    ),
    EventKind(
        "LIMIT_RAISED",
        GOOD,
        "an approved raise of a shared limit, or of a feature's",
        f"`changes`, {APPROVED}",
    ),
    EventKind("LIMIT_CHANGE", PLAIN, "a shared limit changed, by anyone, SQL included", CHANGE),
    EventKind(
        "FEATURE_CHANGE", PLAIN, "a feature's control changed, by anyone, SQL included", CHANGE
    ),
    EventKind("FEATURE_SWITCHED_OFF", WARNING, "an alert: a feature is switched off", ALERT),
    EventKind("KILL_SWITCH_CHANGE", WARNING, "a kill switch, by anyone, SQL included", CHANGE),
    EventKind("BREAKER_OPENED", BAD, "an alert: a circuit breaker opened", ALERT),
    EventKind("BREAKER_HALF_OPEN", WARNING, "an alert: it tries whether all is well", ALERT),
    EventKind("BREAKER_CLOSED", GOOD, "an alert: it closed", ALERT),
    EventKind(
        "BREAKER_SWITCHED",
        WARNING,
        "a person tripped or reset a breaker",
        "`state`, `reason`, `subject`",
    ),
    EventKind("BREAKER_CHANGE", PLAIN, "a breaker's row was changed, in SQL", CHANGE),
    EventKind("BREAKER_SETTINGS_CHANGE", PLAIN, "by anyone, SQL included", CHANGE),
    EventKind("PREFLIGHT", WARNING, "an alert: a batch failed its check before the start", ALERT),
    EventKind("PREFLIGHT_RULE_CHANGE", PLAIN, "by anyone, SQL included", CHANGE),
    EventKind("BUDGET_THRESHOLD", WARNING, "an alert: so much of a limit is used", ALERT),
    EventKind("DIMENSION_TIER", WARNING, "an alert: a monthly budget reached a tier", ALERT),
    EventKind(
        "REFUSALS",
        WARNING,
        "refusals by one limit, counted",
        "`denial`, `times`, `agents`, `since`, `until`",
    ),
    EventKind(
        "MONTH_PROJECTION",
        WARNING,
        "a month is projected over its budget",
        "`month`, `projected`, `low`, `high`, `amount`",
    ),
    EventKind("RULE", WARNING, "an alert: a rule of this installation", ALERT),
    EventKind("ALERT_RULE_ADDED", PLAIN, "a person added a rule", "`rule`, `incidentId`, `reason`"),
    EventKind("ALERT_RULE_CHANGED", PLAIN, "a person changed a rule", "`changes`, `reason`"),
    EventKind("ALERT_RULE", WARNING, "a rule fired", "`rule`, `incidentId`"),
    EventKind("BREAK_GLASS", BAD, "a person raised a cap at once", "`reason`, `changes`"),
    EventKind("BREAK_GLASS_REVIEWED", GOOD, "others have reviewed it", "`review`"),
    EventKind("GRANT_ENDED", PLAIN, "a temporary raise is over", "`changes`, `reason`"),
    EventKind("APPROVAL_RULES_CHANGE", PLAIN, "who must approve what changed", CHANGE),
    EventKind("ACCOUNT_CHANGE_PROPOSED", PLAIN, "what takes two administrators", ACCOUNT),
    EventKind(
        "ACCOUNT_CHANGE_CONFIRMED",
        GOOD,
        "the second one confirmed it",
        f"{ACCOUNT}, `approvers`, `approvalLevel`",
    ),
    EventKind("ACCOUNT_CHANGE_REFUSED", WARNING, "the second one refused it", ACCOUNT),
    EventKind("ACCOUNT_CHANGE_EXPIRED", WARNING, "nobody confirmed it in time", ACCOUNT),
    EventKind("ACCOUNT_CHANGE_STALE", WARNING, "the account has changed meanwhile", ACCOUNT),
    EventKind(
        "ACCOUNT_LINK_ISSUED",
        PLAIN,
        "a one-time link was made",
        "`linkId`, `how`, `sentTo`, `issuedBy`",
    ),
    EventKind("ACCOUNT_LINK_USED", PLAIN, "a one-time link was used", "`linkId`"),
    EventKind("PASSWORD_CHANGED", PLAIN, "by the person, or by a command", "`personId`"),
    EventKind("SOLO_OPERATOR_CHANGED", WARNING, "`manage.py solo_operator`", CHANGE),
    EventKind("WAITING_TIME_CHANGED", PLAIN, "`manage.py waiting_time`", CHANGE),
    EventKind(
        "ENVIRONMENT_STAMPED", WARNING, "`manage.py stamp_environment`", "`old`, `new`, `reason`"
    ),
    EventKind(
        "AUTOMATIC_MITIGATION_CHANGE",
        WARNING,
        "which levers a job may pull changed",
        "`old`, `new`, `reason`",
    ),
    EventKind(
        "DAILY_REPORT",
        PLAIN,
        "the budget report of a day was sent",
        "`blocked`, `near`, `idle`",
    ),
    EventKind(
        "BILL_IMPORTED",
        PLAIN,
        "a bill was imported",
        "`sha256`, `lines`, `badLines`, `billedUsd`",
    ),
    EventKind("SERVICE_MAPPED", PLAIN, "which dimension a service belongs to", "`old`, `new`"),
    EventKind("MONTHLY_BUDGET_CHANGE", PLAIN, "a monthly budget changed", "`changes`, `reason`"),
    EventKind(
        "BUDGET_ALERT", WARNING, "a monthly budget reached a tier", "`kind`, `tier`, `month`"
    ),
    EventKind("CONTACT_ADDED", PLAIN, "a person to call", "`changes`"),
    EventKind("CONTACT_CHANGED", PLAIN, "a person to call", "`changes`"),
    EventKind("HOTSPOT_ADDED", PLAIN, "a part of a program that costs much", "`changes`"),
    EventKind("HOTSPOT_CHANGED", PLAIN, "its controls or its description", "`changes`"),
    EventKind("HOTSPOT_CONFIRMED", GOOD, "a person looked: it is as described", "`note`"),
    EventKind("REVIEW_OPENED", PLAIN, "the cost review of a month began", "`month`"),
    EventKind("REVIEW_FIGURES", PLAIN, "its figures were taken anew", "`month`"),
    EventKind("REVIEW_CHECK", PLAIN, "one of its questions was answered", "`month`, `state`"),
    EventKind("REVIEW_DECISION", PLAIN, "a decision was noted", "`month`"),
    EventKind("REVIEW_SIGNED", PLAIN, "a person signed it", "`month`"),
    EventKind("REVIEW_CLOSED", GOOD, "all have signed", "`month`, `approvers`, `approvalLevel`"),
)
