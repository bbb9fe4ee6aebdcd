"""What the endpoints that spend have in common in the schema. Their answers to a decision are the
database's own JSON; the structs describe it, and a test holds it against them."""

from typing import Annotated, Literal
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from msgspec import UNSET, Meta, UnsetType

from opslog.api.answers import Answer, Moment, Usd
from opslog.api.schema import NOT_FOUND
from workorders.api.views import Caps

DayState = Literal["OK", "WARNING", "BLOCKED"]
RunState = Annotated[
    Literal["running", "success", "error", "cancelled", "expired"],
    Meta(description="`running`. Of a replay: what the run is now."),
]
Replayed = Annotated[
    bool,
    Meta(description="`true` where an earlier request with this key was admitted, else absent."),
]


class DryRun(Answer):
    decision: Literal["admit", "refuse"]
    reason: str | None
    would_reserve_usd: Usd


class Settlement(Answer):
    run_id: UUID
    work_order_id: str
    status: Literal["success", "error", "cancelled", "expired"]
    cost_usd: Usd
    reserved_usd: Usd
    overrun_usd: Usd
    cost_note: Literal["unpriced"] | None
    started_at: Moment
    finished_at: Moment


class Finished(Settlement):
    status: Literal["success", "error", "cancelled"]


class RunsUsage(Answer):
    runs_today: int
    usd_today: Usd
    open_runs: int


class Extended(Answer):
    run_id: UUID
    work_order_id: str
    status: RunState
    reserved_usd: Usd
    lease_expires_at: Moment
    replayed: Replayed | UnsetType = UNSET


class Admitted(Extended, kw_only=True):
    caps: Caps
    usage: RunsUsage
    settlement: (
        Annotated[
            Settlement | None,
            Meta(description="Of a replay: what is on record of the run, null while it is open."),
        ]
        | UnsetType
    ) = UNSET


DENIAL = OpenApiParameter(
    "Tollgate-Denial",
    str,
    "header",
    response=[401, 403, 404, 409, 422, 428, 429],
    description="Which check refused. What to do about a 429, with the figures of the moment: "
    "`/admin/runbooks/runs-429/` and `/admin/runbooks/usd-429/`, for people with a login.",
)
DENIAL_SCOPE = OpenApiParameter(
    "Tollgate-Denial-Scope",
    str,
    "header",
    response=[403, 429],
    description="Of a refusal by a shared limit or a throttle: what it is held over, such as "
    "`global`, `model`, `agent`, `user`, `feature`, `feature_user`.",
)
DENIAL_SUBJECT = OpenApiParameter(
    "Tollgate-Denial-Subject",
    str,
    "header",
    response=[403, 429],
    description="Whose limit of that scope it is, percent-encoded UTF-8: the model, the agent, …. "
    "Absent for `global`.",
)
LIMIT = [DENIAL, DENIAL_SCOPE, DENIAL_SUBJECT]
RETRY_AFTER = OpenApiParameter(
    "Retry-After", int, "header", response=[429, 503], description="Seconds to wait."
)
RESET_AT = OpenApiParameter(
    "Tollgate-Reset-At",
    OpenApiTypes.DATETIME,
    "header",
    response=[429],
    description="When time will have cured it.",
)
REPLAYED = OpenApiParameter(
    "Idempotent-Replayed",
    str,
    "header",
    response=[200, 201],
    description="`true` on the answer to a request that was granted before.",
)
KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]*$"},
    "header",
    description="One per ask, the same in every retry of it. Kept for 48 hours.",
)
REFUSALS = {
    **NOT_FOUND,
    409: "The state does not allow it.",
    422: "Used Idempotency-Key, or a model without a price.",
    429: "A limit is reached.",
}
