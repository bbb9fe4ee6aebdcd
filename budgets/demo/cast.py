"""The people, work orders and agents of the demo. Plain data."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Person:
    username: str
    group: str
    may: str


PEOPLE = (
    Person("ops", "operations", "watches, suspends, asks, approves the small changes"),
    Person("ops2", "operations", "the second of operations: nobody approves their own request"),
    Person("director", "director", "approves $10 to $50 a day, and 1000 runs and more"),
    Person("finance", "finance", "approves over $50 a day, together with vp"),
    Person("vp", "vp", "approves over $50 a day, together with finance"),
    Person("auditor", "auditor", "reads and exports everything"),
    Person("admin", "administrator", "superuser: sets up people and tokens"),
)
SERVICE_OWNER = "ops"  # the demo's service token acts in this name


@dataclass(frozen=True, slots=True)
class Raise:
    """A cap change of the past, so many days ago. `level` is the group that had to approve it."""

    days_ago: int
    runs_per_day: int
    usd_per_day: Decimal
    asked_by: str
    approved_by: str
    level: str
    justification: str
    impact: str
    comment: str


@dataclass(frozen=True, slots=True)
class Job:
    """A work order and how it behaves.

    `runs` on an ordinary workday; `hours` (UTC) between which it works; `requests` of the trace
    that one run is made of; `seconds` that it takes at most; `weekend` is the share of its work
    that goes on then.
    """

    id: str
    title: str
    agents: tuple[str, ...]
    model: str
    runs: int
    hours: tuple[int, int]
    requests: tuple[int, int]
    seconds: int
    weekend: float = 0.3
    errors: float = 0.03
    concurrent: int = 2
    raised: tuple[Raise, ...] = ()
    suspended_days_ago: int | None = None


# Has room for an ask a second all day long, and gets most of the live trickle.
BUSIEST = "log-classification"

KNOWN_AGENTS = {
    "digest-1": "Writes the nightly digest",
    "invoice-reader": "Reads scanned invoices",
    "invoice-reader-2": "Reads scanned invoices",
    "reviewer": "Comments on pull requests",
    "triage-eu": "Sorts chats, Europe",
    "triage-us": "Sorts chats, Americas",
    "counsel-notes": "Summarizes contracts",
    "indexer": "Describes pages for search",
    "brief-writer": "Prepares customer briefings",
    "log-classifier": "Sorts log lines",
    "alert-explainer": "Explains alerts to people on call",
}

JOBS = (
    Job(
        "nightly-digest",
        "Nightly digest",
        ("digest-1",),
        "gpt-4o",
        40,
        (1, 5),
        (2, 6),
        120,
        weekend=1.0,
    ),
    Job(
        "invoice-extraction",
        "Invoice extraction",
        ("invoice-reader", "invoice-reader-2"),
        "gpt-4o-mini",
        90,
        (6, 18),
        (3, 10),
        90,
        errors=0.06,
    ),
    Job(
        "code-review",
        "Code review comments",
        ("reviewer",),
        "gpt-4o",
        90,
        (7, 19),
        (3, 9),
        180,
        weekend=0.1,
        concurrent=4,
        raised=(
            Raise(
                24,
                200,
                Decimal("8.00"),
                "ops",
                "ops2",
                "operations",
                "Every repository of the platform team is reviewed now, not only two of them.",
                "About $4 a day more on workdays",
                "Cost per run is steady at 4 cents; the refusals are real work.",
            ),
        ),
    ),
    Job(
        "support-triage",
        "Support chat triage",
        ("triage-eu", "triage-us", "notebook-mk"),
        "gpt-4o-mini",
        120,
        (0, 24),
        (1, 4),
        40,
        weekend=0.8,
        concurrent=4,
        raised=(
            Raise(
                19,
                300,
                Decimal("2.00"),
                "ops2",
                "ops",
                "operations",
                "Chats from the Americas are sorted as well, which doubles the number of runs.",
                "None in dollars: the runs are small",
                "Only the number of runs goes up.",
            ),
        ),
    ),
    Job(
        "contract-summaries",
        "Contract summaries",
        ("counsel-notes",),
        "gpt-4o",
        45,
        (8, 17),
        (8, 30),
        400,
        weekend=0.0,
        concurrent=3,
        raised=(
            Raise(
                15,
                100,
                Decimal("12.00"),
                "ops",
                "director",
                "director",
                "The archive of 2,400 supplier contracts is to be summarized this quarter.",
                "Up to $10 a day until the end of the quarter",
                "In the plan of the legal department. To be lowered again afterwards.",
            ),
        ),
    ),
    Job(
        "search-index",
        "Search index of the handbook",
        ("indexer",),
        "gpt-4o-mini",
        70,
        (20, 24),
        (2, 8),
        60,
        weekend=1.0,
        errors=0.02,
    ),
    Job(
        "sales-briefings",
        "Customer briefings for sales",
        ("brief-writer",),
        "gpt-4o",
        30,
        (6, 10),
        (4, 12),
        240,
        weekend=0.0,
    ),
    Job(
        "alert-explanations",
        "Explanations of alerts",
        ("alert-explainer", "cron-box-7"),
        "gpt-4o-mini",
        60,
        (0, 24),
        (1, 5),
        30,
        weekend=1.0,
        errors=0.08,
    ),
    Job(
        BUSIEST,
        "Log line classification",
        ("log-classifier",),
        "gpt-4o-mini",
        80,
        (0, 24),
        (1, 3),
        20,
        weekend=1.0,
        errors=0.01,
        concurrent=6,
        raised=(
            Raise(
                4,
                100_000,
                Decimal("30.00"),
                "ops2",
                "director",
                "director",
                "Classification moves from a sample of the log lines to all of them.",
                "About $25 a day",
                "Agreed with the platform team; the sample was cheap and right.",
            ),
        ),
    ),
    Job(
        "price-watch",
        "Competitor price watch",
        ("cron-box-7",),
        "gpt-4o",
        90,
        (0, 24),
        (1, 4),
        60,
        weekend=1.0,
        errors=0.35,
        suspended_days_ago=9,
    ),
)


@dataclass(frozen=True, slots=True)
class Wish:
    """A cap change that waits for its approval when the demo begins."""

    work_order_id: str
    usd_per_day: Decimal
    asked_by: str
    justification: str
    impact: str


WISHES = (
    Wish(
        "invoice-extraction",
        Decimal("6.00"),
        "ops2",
        "Two more subsidiaries send their invoices here from next week.",
        "About $1 a day more",
    ),
    Wish(
        "sales-briefings",
        Decimal("15.00"),
        "ops",
        "Every account manager gets a briefing before each visit, not only the key accounts.",
        "About $9 a day more",
    ),
)
