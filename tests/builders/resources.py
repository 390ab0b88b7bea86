"""Custom resources and what surrounds them, with sensible content to be replaced by name."""

from __future__ import annotations

import hashlib
from typing import Any

from millstream_api.manifest import VersionRef
from millstream_api.recserving import RecServingSpec
from millstream_api.rectraining import RecTrainingSpec
from millstream_api.release import Release
from millstream_api.reports import (
    Counters,
    Progress,
    ReplicaReport,
    Shadow,
    StoreHealth,
    VersionState,
)

LINEAGE = "0123456789ab"
STORE = {"bucket": "models", "credentialsSecretRef": {"name": "s3-credentials"}}
HEALTHY = StoreHealth(ok=True, reason="Reachable")
AWAY = StoreHealth(ok=False, reason="Unreachable", message="the store does not answer")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_ref(version: int, lineage: str = LINEAGE) -> VersionRef:
    return VersionRef(lineage=lineage, version=version, digest=digest(f"{lineage}/{version}"))


def serving_document(name: str = "shop", namespace: str = "default", **spec: Any) -> dict[str, Any]:
    """A RecServing as a person writes it."""
    return {
        "apiVersion": "millstream.dev/v1alpha1",
        "kind": "RecServing",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"model": {"name": "shop"}, "store": STORE} | spec,
    }


def training_document(
    name: str = "shop", namespace: str = "default", **spec: Any
) -> dict[str, Any]:
    """A RecTraining as a person writes it."""
    return {
        "apiVersion": "millstream.dev/v1alpha1",
        "kind": "RecTraining",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"source": {"synthetic": {}}, "store": STORE} | spec,
    }


def make_serving_spec(**spec: Any) -> RecServingSpec:
    return RecServingSpec.model_validate(serving_document(**spec)["spec"])


def make_training_spec(**spec: Any) -> RecTrainingSpec:
    return RecTrainingSpec.model_validate(training_document(**spec)["spec"])


def make_report(
    release: Release,
    name: str = "shop-server-a",
    *,
    holds: tuple[VersionRef, ...] | None = None,
    refuses: dict[VersionRef, str] | None = None,
    shadow: Shadow | None = None,
    counters: dict[str, Counters] | None = None,
    **fields: Any,
) -> ReplicaReport:
    """A server that follows `release` and holds all of it, unless said otherwise."""
    refused = refuses or {}
    held = release.wanted() if holds is None else holds

    def state(ref: VersionRef) -> VersionState:
        if ref in refused:
            return VersionState(ref=ref, state="Refused", reason=refused[ref], message="it is bad")
        return VersionState(ref=ref, state="Ready" if ref in held else "Loading")

    known: dict[str, Any] = {
        "replica": name,
        "epoch": release.epoch,
        "salt": release.salt,
        "stable": release.stable,
        "candidate": release.candidate,
        "advanced": release.advanced,
        "versions": tuple(state(ref) for ref in release.wanted()),
        "counters": counters or {},
        "shadow": shadow,
        "store": HEALTHY,
    }
    return ReplicaReport(**(known | fields))


def make_shadow(candidate: VersionRef, stable: VersionRef, **fields: Any) -> Shadow:
    """A comparison that passes, unless said otherwise."""
    known: dict[str, Any] = {
        "candidate": candidate.digest,
        "stable": stable.digest,
        "requests": 200,
        "scores": 20_000,
        "nonfinite": 0,
        "correlation": 0.95,
        "mean_shift": 0.1,
    }
    return Shadow(**(known | fields))


def make_counters(requests: int = 1000, **fields: Any) -> Counters:
    """Counters of a version that does well."""
    known: dict[str, Any] = {
        "requests": requests,
        "errors": 0,
        "nonfinite": 0,
        "latency_ms_p50": 2.0,
        "latency_ms_p99": 8.0,
        "score_mean": 0.3,
        "score_std": 0.1,
    }
    return Counters(**(known | fields))


def make_progress(**fields: Any) -> Progress:
    """A trainer that does well."""
    known: dict[str, Any] = {
        "worker": "shop-trainer-0",
        "phase": "Training",
        "step": 1000,
        "events": 256_000,
        "events_per_second": 200.0,
        "lag_seconds": 0.4,
        "busy_ratio": 0.42,
        "auc": 0.71,
        "log_loss": 0.55,
        "published": make_ref(3),
        "published_at": 1_800_000_000.0,
        "published_watermark": {"first": 1_799_999_985.0, "last": 1_799_999_999.0},
        "store": HEALTHY,
    }
    return Progress(**(known | fields))
