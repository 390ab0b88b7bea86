"""RecServing: serves one model and brings each of its versions to users in gray batches."""

from millstream_api.recserving.spec import LaneSpec, RecServingSpec
from millstream_api.recserving.status import (
    HISTORY_LIMIT,
    QUARANTINE_LIMIT,
    SUPERSEDED_LIMIT,
    Lane,
    Phase,
    PromotedVersion,
    QuarantinedVersion,
    RecServingStatus,
    RolloutStatus,
    SupersededVersion,
)

__all__ = [
    "HISTORY_LIMIT",
    "QUARANTINE_LIMIT",
    "SUPERSEDED_LIMIT",
    "Lane",
    "LaneSpec",
    "Phase",
    "PromotedVersion",
    "QuarantinedVersion",
    "RecServingSpec",
    "RecServingStatus",
    "RolloutStatus",
    "SupersededVersion",
]
