"""The life of an incident: from the verdict of the triage to the review that closes it.

`finding` is what the triage hands over, `detecting.record_verdict` what takes it. `rules`,
`proposals`, `queries` and `postmortem` are pure. What proposes does not apply: the floor above
changes the controls, and tells `mitigating` in the same transaction.
"""

__all__ = [
    "costs",
    "detecting",
    "finding",
    "handling",
    "levers",
    "mitigating",
    "notices",
    "postmortem",
    "reviewing",
    "rules",
    "tightening",
    "timeline",
    "triage_cases",
    "triage_job",
    "watching",
]
