"""The kinds of events of this floor, in the order of their page."""

from opslog.events.registry import EventKind, Level

PLAIN, GOOD, WARNING, BAD = Level.PLAIN, Level.GOOD, Level.WARNING, Level.BAD
INCIDENT = "`incidentId`, `state`, `cause`, `feature`"
PERSON = "`personId`, `sourceIp`"
ROW = "`changes` `{column: {old, new}}`"
ACCOUNT = (
    "`personId`, `username`, `changes`, `proposedBy`; of what two people confirmed `approvers`, "
    "`approvalLevel`"
)

KINDS = (
    EventKind("INCIDENT_DETECTED", BAD, "a cost spike began", INCIDENT),
    EventKind("INCIDENT_TRIAGED", PLAIN, "its cause is known, or another", f"{INCIDENT}, `before`"),
    EventKind("INCIDENT_SEVERITY", WARNING, "its severity changed", f"{INCIDENT}, `before`"),
    EventKind("INCIDENT_ESCALATED", BAD, "nobody took it in time", f"{INCIDENT}, `level`"),
    EventKind("INCIDENT_OWNED", PLAIN, "somebody took it", INCIDENT),
    EventKind("INCIDENT_NOTE", PLAIN, "somebody wrote a note", INCIDENT),
    EventKind(
        "INCIDENT_MITIGATION_ASKED",
        PLAIN,
        "a person, or a job that may, applied a proposal",
        f"{INCIDENT}, `mitigationId`",
    ),
    EventKind(
        "INCIDENT_MITIGATED", GOOD, "a mitigation is in force", f"{INCIDENT}, `mitigationId`"
    ),
    EventKind(
        "INCIDENT_MITIGATION_DISMISSED",
        PLAIN,
        "a proposal was dismissed",
        f"{INCIDENT}, `mitigationId`, `lever`",
    ),
    EventKind(
        "INCIDENT_MITIGATION_ENDED", PLAIN, "a mitigation ended", f"{INCIDENT}, `mitigationId`"
    ),
    EventKind(
        "INCIDENT_MITIGATION_STUCK",
        BAD,
        "a mitigation could not be undone",
        f"{INCIDENT}, `mitigationId`",
    ),
    EventKind("INCIDENT_STABILISED", GOOD, "the spike is over", INCIDENT),
    EventKind("INCIDENT_RELAPSED", BAD, "the spike came back", INCIDENT),
    EventKind("INCIDENT_REOPENED", BAD, "it came back after the incident was stabilized", INCIDENT),
    EventKind("INCIDENT_REVIEWED", GOOD, "its review was closed", INCIDENT),
    EventKind("INCIDENT_FOLLOW_UP", PLAIN, "the follow-up of a review is due", INCIDENT),
    EventKind(
        "CHANGE_RECORDED",
        PLAIN,
        "a deploy, or another change of a program that spends",
        "`kind`, `what`, `feature`, `happenedAt`",
    ),
    EventKind("PRICE_BOOK_UPDATE", PLAIN, "prices were imported or entered", "`reason`, changes"),
    EventKind(
        "COST_PREFERENCE_CHANGE",
        PLAIN,
        "reported or computed costs are preferred, by anyone, SQL included",
        f"{ROW}, `reason`",
    ),
    EventKind(
        "TELEMETRY_DROPPED",
        PLAIN,
        "weeks of telemetry are past retention",
        "`tables`, `retentionDays`",
    ),
    EventKind("MESSAGE_FAILED", WARNING, "a message could not be sent", "`topic`, `error`"),
    EventKind("MESSAGE_RETRIED", PLAIN, "a person sent it again", "`topic`, `recipient`"),
    EventKind(
        "MESSAGE_POLICY_CHANGED",
        PLAIN,
        "how many messages a person gets, or how often refusals are reported, changed",
        "`changes`, `reason`",
    ),
    EventKind(
        "NOTIFICATION_PREFERENCE_CHANGED",
        PLAIN,
        "a person wants to be notified in another way",
        "`preferences`",
    ),
    EventKind(
        "PROCESS_SILENT",
        BAD,
        "the job worker, the sealer or the message delivery shows no sign of life",
        "`process`, `since`",
    ),
    EventKind("PROCESS_WORKS_AGAIN", GOOD, "it does again", "`process`, `since`"),
    EventKind(
        "JOB_REFUSED",
        WARNING,
        "the job worker did not run what is not on its list",
        "`function`, `reason`",
    ),
    EventKind("USER_CREATED", GOOD, "an account was made", ACCOUNT),
    EventKind("USER_CHANGED", PLAIN, "an account was changed", ACCOUNT),
    EventKind("USER_DELETED", WARNING, "an account was deleted, in SQL", ROW),
    EventKind("GROUP_CREATED", PLAIN, "a group was made, by anyone, SQL included", ROW),
    EventKind("GROUP_CHANGED", PLAIN, "a group was changed, by anyone, SQL included", ROW),
    EventKind("GROUP_DELETED", WARNING, "a group was deleted, by anyone, SQL included", ROW),
    EventKind("USER_LOGGED_IN", PLAIN, "a person logged in", PERSON),
    EventKind("USER_LOGGED_OUT", PLAIN, "a person logged out", PERSON),
    EventKind(
        "LOGIN_FAILED",
        WARNING,
        "the first failure of 15 minutes, and the rest of them",
        f"{PERSON}, `count`",
    ),
    EventKind("LOGIN_LOCKED_OUT", WARNING, "too many failures", PERSON),
    EventKind("PASSWORD_REFUSED", WARNING, "a wrong password of somebody who is logged in"),
    EventKind("SECOND_FACTOR_ADDED", GOOD, "a person has a second factor", "`factor`"),
    EventKind("SECOND_FACTOR_CHANGED", WARNING, "a second factor was changed, in SQL", "`factor`"),
    EventKind("SECOND_FACTOR_REMOVED", WARNING, "a second factor was removed", "`factor`"),
    EventKind(
        "SECOND_FACTORS_RESET", WARNING, "`manage.py remove_second_factor`", "`factors`, `reason`"
    ),
    EventKind("RECOVERY_CODE_USED", WARNING, "a recovery code was used", "`factor`"),
    EventKind(
        "SEAL_KEY_ROTATED", PLAIN, "`manage.py rotate_seal_key`", "`generation`, `previousKey`"
    ),
    EventKind("EVENTS_VERIFIED", PLAIN, "`manage.py verify_events`", "`through`, `findings`"),
    EventKind(
        "EVENTS_EXPIRED", WARNING, "`manage.py expire_events`", "`partition`, `events`, `seals`"
    ),
    EventKind(
        "OPS_LOG_EXPORT", PLAIN, "somebody exported the history", "`filters`, `format`, `until`"
    ),
    EventKind(
        "NOTE",
        PLAIN,
        "a person, in SQL ([operations.md](../operations.md#a-note-in-the-log))",
        "what they write",
    ),
)
