"""How to reach the API server: from inside a pod, else from a kubeconfig.

The official client library reads the configuration, since kubeconfigs have many dialects; it
does nothing else here. A pod's token is exchanged about hourly, so access is read anew often.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubernetes import client, config

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Access:
    """A server and the credentials for it."""

    server: str
    ca_file: str | None
    certificate_file: str | None
    key_file: str | None
    verifies: bool
    authorization: str | None  # whole header: scheme and token

    @property
    def headers(self) -> dict[str, str]:
        """Headers that authenticate a request."""
        return {"Authorization": self.authorization} if self.authorization else {}

    def tls(self) -> ssl.SSLContext | bool:
        """For aiohttp; False where the kubeconfig asks not to verify."""
        if not self.verifies:
            return False
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.certificate_file is not None:
            context.load_cert_chain(self.certificate_file, self.key_file)
        return context


def load_access(kubeconfig: str | None = None) -> Access:
    """Read the configuration as it is now.

    Args:
        kubeconfig: path of one; by default the pod's own account, then $KUBECONFIG.

    Raises:
        kubernetes.config.ConfigException: there is none, or it cannot be read.
    """
    found = client.Configuration()
    if kubeconfig is not None:
        config.load_kube_config(kubeconfig, client_configuration=found)
    else:
        try:
            config.load_incluster_config(client_configuration=found)
        except config.ConfigException:
            config.load_kube_config(client_configuration=found)
    return Access(
        server=found.host,
        ca_file=found.ssl_ca_cert,
        certificate_file=found.cert_file,
        key_file=found.key_file,
        verifies=found.verify_ssl,
        authorization=found.get_api_key_with_prefix("BearerToken"),
    )


class AccessCache:
    """Access, read again when it is older than a minute or was refused."""

    MAX_AGE_SECONDS = 60.0

    def __init__(self, load: Callable[[], Access], clock: Callable[[], float]) -> None:
        """Reads once, so that a wrong configuration is found at the start."""
        self._load = load
        self._clock = clock
        self._access = load()
        self._read_at = clock()

    def current(self) -> Access:
        """Access that is fresh enough; the last good one where reading fails."""
        if self._clock() - self._read_at > self.MAX_AGE_SECONDS:
            self.refresh()
        return self._access

    def refresh(self) -> None:
        """Read again, because the server refused what we have or it is old."""
        self._read_at = self._clock()
        try:
            self._access = self._load()
        except (config.ConfigException, OSError) as error:
            log.warning("the cluster configuration cannot be read, keeping the last: %s", error)
