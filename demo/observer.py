"""What the objects and the pods say, read from the API server about once a second."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from kubernetes import client, config

from millstream_api.names import API_VERSION, GROUP, LABEL_MANAGED_BY, MANAGED_BY, SETTINGS_KEY
from millstream_api.recserving import RecServingStatus
from millstream_api.rectraining import RecTrainingStatus
from millstream_api.settings import TrainerSettings

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_SECONDS: Final = 5


@dataclass(frozen=True)
class Observation:
    """One look."""

    training: RecTrainingStatus = field(default_factory=RecTrainingStatus)
    serving: RecServingStatus = field(default_factory=RecServingStatus)
    reasons: tuple[str, ...] = ()  # of conditions that are not as they should be
    server_restarts: int = 0
    trainer_pods: int = 0
    servers: frozenset[str] = frozenset()  # names of server pods

    @property
    def published(self) -> int | None:
        """Newest version published."""
        return self.training.version

    @property
    def stable(self) -> int | None:
        """The version that users get."""
        return self.serving.stable_version

    def is_quarantined(self, digest: str) -> bool:
        """Whether this version was taken back for good."""
        return any(entry.digest == digest for entry in self.serving.quarantined)


class Observer:
    """Reads one namespace."""

    def __init__(self, kubeconfig: Path | None, namespace: str) -> None:
        api = config.new_client_from_config(str(kubeconfig) if kubeconfig else None)
        self._objects = client.CustomObjectsApi(api)
        self._core = client.CoreV1Api(api)
        self._namespace = namespace

    def look(self, name: str) -> Observation:
        """Read the two objects of this name and their pods."""
        training = self._get("rectrainings", name)
        serving = self._get("recservings", name)
        pods = self._core.list_namespaced_pod(
            self._namespace,
            label_selector=f"{LABEL_MANAGED_BY}={MANAGED_BY}",
            _request_timeout=TIMEOUT_SECONDS,
        ).items
        servers = [pod for pod in pods if "-server-" in pod.metadata.name]
        return Observation(
            training=RecTrainingStatus.model_validate(training.get("status", {})),
            serving=RecServingStatus.model_validate(serving.get("status", {})),
            reasons=tuple(_complaints(training) + _complaints(serving)),
            server_restarts=sum(_restarts(pod) for pod in servers),
            trainer_pods=len(pods) - len(servers),
            servers=frozenset(pod.metadata.name for pod in servers),
        )

    def trainer_settings(self, name: str) -> TrainerSettings | None:
        """What the operator told the trainer; None before it did."""
        try:
            found = self._core.read_namespaced_config_map(
                f"{name}-trainer", self._namespace, _request_timeout=TIMEOUT_SECONDS
            )
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise
        return TrainerSettings.parse(found.data[SETTINGS_KEY])

    def _get(self, plural: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._objects.get_namespaced_custom_object(
            GROUP, API_VERSION, self._namespace, plural, name, _request_timeout=TIMEOUT_SECONDS
        )
        return found


def _restarts(pod: Any) -> int:
    return sum(status.restart_count for status in pod.status.container_statuses or [])


def _complaints(found: dict[str, Any]) -> list[str]:
    return [
        f"{condition['type']}: {condition['reason']}"
        for condition in found.get("status", {}).get("conditions", [])
        if (condition["type"] == "Ready") == (condition["status"] != "True")
        and condition["type"] in {"Ready", "Stalled", "Degraded"}
    ]
