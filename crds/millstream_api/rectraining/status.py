"""`status` of a RecTraining: what the operator found, without a value that ticks.

A quiet object does not change.
"""

from pydantic import Field

from millstream_api.conditions import Condition
from millstream_api.resources import StatusPart, Time


class ValidationStatus(StatusPart):
    """How well events were predicted before they were learned from, at the newest version."""

    auc: float | None = None
    """Area under the ROC curve over the sliding window."""

    log_loss: float | None = None
    """Logarithmic loss over the sliding window."""

    conversion_auc: float | None = None
    """The same area for what is served, against conversions; of models that learn them."""


class RecTrainingStatus(StatusPart):
    """What the operator found; written by nobody else."""

    observed_generation: int = 0
    """The metadata.generation that this status is about."""

    conditions: tuple[Condition, ...] = Field(
        default=(),
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    """What holds and what does not."""

    replicas: int = 0
    """Workers there are."""

    ready_replicas: int = 0
    """Workers that train."""

    selector: str = ""
    """Label selector of the workers' pods, for /scale."""

    workers: str = ""
    """Workers that train and workers asked for, as `kubectl get` prints them."""

    utilization: str = "-"
    """Share of the time that workers compute, in coarse steps so that it does not tick."""

    lag: str = "-"
    """Age of the oldest event not yet learned, in coarse steps so that it does not tick."""

    model: str = ""
    """Name of the model in the store."""

    lineage: str = ""
    """Line of descent that versions are published to."""

    version: int | None = None
    """Newest version published."""

    published_at: Time | None = None
    """When it was published."""

    watermark: Time | None = None
    """Time of the newest event that the newest version has learned."""

    validation: ValidationStatus | None = None
    """How good the newest version is."""
