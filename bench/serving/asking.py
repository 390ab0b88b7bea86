"""One question, and what the answer says.

Whoever asks once is patient: a peer that starts beside it may take both cores for a while.
"""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

from bench.serving.workload import PATIENT

if TYPE_CHECKING:
    from bench.serving.processes import Server
    from bench.serving.workload import Request


def answer_of(server: Server, request: Request) -> dict[str, Any]:
    """The document that answers a request."""
    asked = urllib.request.Request(  # noqa: S310 - loopback
        server.endpoint,
        request.body(),
        {"content-type": "application/json"} | PATIENT,
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310
        found: dict[str, Any] = json.loads(answer.read())
        return found
