"""The trainer: learns from a stream of events without end and publishes versions of the model."""
