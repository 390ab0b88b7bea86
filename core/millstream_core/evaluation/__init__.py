"""How well a model ranks, and the events that a version is asked about before it serves."""

from millstream_core.evaluation.auc import area_under_curve
from millstream_core.evaluation.golden import LABELLED, GoldenEvents

__all__ = ["LABELLED", "GoldenEvents", "area_under_curve"]
