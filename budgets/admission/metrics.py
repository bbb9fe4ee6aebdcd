"""The Prometheus metrics of admission. Figures that the database knows better (reserved and
settled dollars, open leases, the queue) are read from it when a scrape comes."""

from prometheus_client import Counter, Histogram

ADMISSIONS = Counter("tollgate_admissions_total", "Runs admitted.", ["replayed"])
REFUSALS = Counter("tollgate_refusals_total", "Starts and extensions refused.", ["limit"])
FINISHES = Counter("tollgate_finishes_total", "Runs settled.", ["status"])
RESERVED = Counter("tollgate_reserved_usd_total", "US dollars reserved by starts and extensions.")
SETTLED = Counter("tollgate_settled_usd_total", "US dollars settled by finished runs.")
UNAVAILABLE = Counter(
    "tollgate_unavailable_total", "Requests answered 503 because the database did not decide."
)
OVERLOADED = Counter(
    "tollgate_overloaded_total",
    "Asks refused because there was no time to decide them: nothing was decided.",
)
GATHERED = Histogram(
    "tollgate_gatherer_batch_asks",
    "Asks that were sent to the database together.",
    buckets=(1, 2, 4, 8, 16, 32),
)
GATHERING = Histogram(
    "tollgate_gatherer_wait_seconds",
    "Seconds that an ask waited before it was sent to the database.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
LATENCY = Histogram(
    "tollgate_admission_seconds",
    "Seconds from the parsed request to the decision of the database.",
    ["operation"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
PREFLIGHTS = Counter("tollgate_preflights_total", "Pre-flights of batches.", ["passed"])
LOGINS = Counter("tollgate_logins_total", "Log-ins of people: in, out, failed.", ["what"])
