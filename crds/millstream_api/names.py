"""Names that the outside world sees: groups, labels, annotations, ports, headers.

They are part of the public surface; `tests/unit/api/test_public_surface.py` freezes them.
"""

from __future__ import annotations

from typing import Final, Literal

GROUP: Final = "millstream.dev"
API_VERSION: Final = "v1alpha1"
GROUP_VERSION: Final = f"{GROUP}/{API_VERSION}"
CATEGORY: Final = "recsys"

ANNOTATION_ROLLBACK_TO: Final = f"{GROUP}/rollback-to"
ANNOTATION_PAUSE: Final = f"{GROUP}/pause"

LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_INSTANCE: Final = "app.kubernetes.io/instance"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "millstream"

# Every pod that millstream renders names its HTTP port so; operator and Prometheus follow it.
HTTP_PORT_NAME: Final = "http"
TRAINER_PORT: Final = 8081
SERVER_PORT: Final = 8080

HEADER_VERSION: Final = "x-millstream-version"
HEADER_BATCH: Final = "x-millstream-batch"
HEADER_WATERMARK: Final = "x-millstream-watermark"  # Unix seconds of the latest event learned
HEADER_BUDGET: Final = "x-latency-budget-millis"  # of a request
MOST_BUDGET_MILLIS: Final = 60_000

# Of the numbers that a server multiplies; what it adds up is float32 always.
Precision = Literal["Float32", "BFloat16"]

CHANNEL_LATEST: Final = "latest"
CHANNEL_STABLE: Final = "stable"

# In the environment of servers: processors that their limit comes to, or those of the node.
CPU_LIMIT: Final = "CPU_LIMIT"

# Where the operator mounts the settings of a program, and the key of the settings in their
# ConfigMap.
SETTINGS_PATH: Final = "/etc/millstream/settings.json"
SETTINGS_KEY: Final = "settings.json"
RELEASE_KEY: Final = "release.json"

# Where the operator mounts a disk for rows beyond a table's memory budget.
OVERFLOW_PATH: Final = "/overflow"
