"""Run the operator: `millstream-operator [--namespace NS …] [--port N] …`.

Without --namespace it watches all namespaces. Images of trainer and server are what the chart
sets in MILLSTREAM_TRAINER_IMAGE and MILLSTREAM_SERVER_IMAGE. Exit status: 0 after SIGTERM, 1 when
the operator has lost its basis and should be started anew, 2 for wrong options.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import secrets
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kubernetes.config import ConfigException

from millstream_core.telemetry.logs import json_lines
from millstream_operator.process import Options, Process
from millstream_operator.shell.workspace import Images

if TYPE_CHECKING:
    from collections.abc import Sequence

PORT: Final = 8082
OWN_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the program; returns its exit status."""
    options, level = _options(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(json_lines())
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLogger().level))
    # It warns that signals are not its own in our thread, which is how we want it.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    try:
        return asyncio.run(Process(options).run())
    except ConfigException as error:
        logging.getLogger(__name__).critical("no cluster to work in: %s", error)
        return 2


def _options(arguments: Sequence[str] | None) -> tuple[Options, str]:
    parser = argparse.ArgumentParser(prog="millstream-operator", description=_summary())
    parser.add_argument(
        "--namespace",
        action="append",
        metavar="NS",
        help="watch this namespace (may be repeated); by default all of them",
    )
    parser.add_argument("--port", type=int, default=PORT, help="of /livez, /readyz and /metrics")
    parser.add_argument("--kubeconfig", help="by default the pod's account, then $KUBECONFIG")
    parser.add_argument("--lease-name", default="millstream-operator")
    parser.add_argument("--lease-namespace", default=_own_namespace())
    parser.add_argument(
        "--identity",
        default=f"{socket.gethostname()}-{secrets.token_hex(4)}",
        help="of this process, in the Lease",
    )
    parser.add_argument(
        "--trainer-image",
        default=os.environ.get("MILLSTREAM_TRAINER_IMAGE", "millstream-trainer"),
        help="where a RecTraining names none",
    )
    parser.add_argument(
        "--server-image",
        default=os.environ.get("MILLSTREAM_SERVER_IMAGE", "millstream-serving"),
        help="where a RecServing names none",
    )
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING"))
    given = parser.parse_args(arguments)
    options = Options(
        identity=given.identity,
        lease_namespace=given.lease_namespace,
        lease_name=given.lease_name,
        namespaces=tuple(dict.fromkeys(given.namespace)) if given.namespace else (None,),
        port=given.port,
        images=Images(given.trainer_image, given.server_image),
        kubeconfig=given.kubeconfig,
    )
    return options, given.log_level


def _own_namespace() -> str:
    return OWN_NAMESPACE.read_text().strip() if OWN_NAMESPACE.exists() else "default"


def _summary() -> str:
    return "Turns RecTraining and RecServing objects into running programs and releases."


if __name__ == "__main__":
    sys.exit(main())
