"""The ground: what happened. No model here points at a row of another app: an event names its
subject by type, id and label, so that the record outlives the subject."""

from opslog.models.changes import ChangeMarker
from opslog.models.events import Heartbeat, OperationsEvent
from opslog.models.incidents import Incident, IncidentEntry, Mitigation
from opslog.models.outbox import (
    MessagePolicy,
    NotificationPreference,
    OutboxMessage,
    Severity,
)
from opslog.models.prices import ModelPrice, PriceBookVersion
from opslog.models.seals import EventTombstone, Seal, SealKey, SealMembers
from opslog.models.sign_in import SignInTries
from opslog.models.telemetry import (
    CostPreference,
    InferenceEvent,
    InferenceHour,
    StaleHour,
    TelemetryResponse,
    TelemetryTrace,
    ToolCall,
    ToolHour,
    TriggerType,
    UnreadSpan,
)
from opslog.models.views import SavedView

__all__ = [
    "ChangeMarker",
    "CostPreference",
    "EventTombstone",
    "Heartbeat",
    "Incident",
    "IncidentEntry",
    "InferenceEvent",
    "InferenceHour",
    "MessagePolicy",
    "Mitigation",
    "ModelPrice",
    "NotificationPreference",
    "OperationsEvent",
    "OutboxMessage",
    "PriceBookVersion",
    "SavedView",
    "Seal",
    "SealKey",
    "SealMembers",
    "Severity",
    "SignInTries",
    "StaleHour",
    "TelemetryResponse",
    "TelemetryTrace",
    "ToolCall",
    "ToolHour",
    "TriggerType",
    "UnreadSpan",
]
