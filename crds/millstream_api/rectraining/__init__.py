"""RecTraining: trains one model continuously on a stream of events and publishes its versions."""

from millstream_api.rectraining.spec import RecTrainingSpec
from millstream_api.rectraining.status import RecTrainingStatus, ValidationStatus

__all__ = ["RecTrainingSpec", "RecTrainingStatus", "ValidationStatus"]
