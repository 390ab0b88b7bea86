"""The Open Inference Protocol, version 2, over HTTP: /v2 and what is below it.

    GET  /v2   /v2/health/live   /v2/health/ready   /v2/models/{model}[/versions/{version}][/ready]
    POST /v2/models/{model}/infer

One server has one model. A caller may ask which versions are held here and for one of them, but not
for an answer by one: the release says whom each version answers, and a rollback is only over when
no caller gets the version that was taken back. The version that answered is in the answer.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from millstream_serving.http.formats import JSON, must_be_json
from millstream_serving.http.refusals import BadRequest
from millstream_serving.http.replies import NOBODY, Headers, Reply, headers_of, with_retry
from millstream_serving.http.tensors import IDS, INPUTS, MOST_VALUES, Wanted, read_inference

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_serving.http.messages import HttpRequest
    from millstream_serving.ranking.answers import Query
    from millstream_serving.replica import Ranking, Replica

SERVER: Final = "millstream-server"
# With it a client says how long the JSON is, before which tensors come in binary.
BINARY_HEADER: Final = "inference-header-content-length"


def refusal(
    status: int, reason: str, message: str, *, retry: int | None = None, headers: Headers = ()
) -> Reply:
    """As replies.refusal, in the form of the protocol: one text, which has no room for a reason."""
    del reason
    return _document(status, {"error": message}, with_retry(headers, retry))


class Inference:
    """Answers whatever is asked below /v2."""

    def __init__(self, replica: Replica, software: str) -> None:
        """Answer for this replica.

        Args:
            replica: whose model it is.
            software: version of this program.
        """
        self._replica = replica
        self._server = {"name": SERVER, "version": software, "extensions": []}

    def reply(self, method: str, path: str) -> Reply | None:
        """The answer to everything but an inference; None: this is one, to be read with `read`."""
        match path.removesuffix("/").split("/")[2:]:
            case ["models", model, *_] if model != self._replica.model:
                return refusal(
                    404,
                    "NoSuchModel",
                    f"there is no model {model[:64]!r} here: it is {self._replica.model!r}",
                )
            case ["models", _, "infer"]:
                return None if method == "POST" else _wrong_method("POST")
            case ["models", model, "versions", version, "infer"] if method == "POST":
                return refusal(
                    400,
                    "VersionNotChosenHere",
                    f"version {version[:64]!r} cannot be asked for an answer: the release says "
                    f"which version answers whom, so POST to /v2/models/{model}/infer",
                    headers=NOBODY,
                )
            case ["models", _, "versions", _, "infer"]:
                return _wrong_method("POST")
            case _ if method != "GET":
                return _wrong_method("GET")
            case []:
                return _document(200, self._server)
            case ["health", "live"]:
                return _document(200, {"live": True})
            case ["health", "ready"]:
                return self._ready({"live": True})
            case ["models", model]:
                return self._metadata()
            case ["models", model, "ready"]:
                return self._ready({"name": model})
            case ["models", _, "versions", version]:
                return self._not_held(version) or self._metadata()
            case ["models", model, "versions", version, "ready"]:
                return self._not_held(version) or _document(200, {"name": model, "ready": True})
        return refusal(
            404,
            "NoSuchPath",
            "there is GET /v2, /v2/health/live, /v2/health/ready, /v2/models/{model}, "
            "/v2/models/{model}/ready, and POST /v2/models/{model}/infer",
        )

    def read(self, request: HttpRequest) -> tuple[Query, Callable[[Ranking], Reply]]:
        """What an inference asks for, and how to answer it; raises BadRequest."""
        must_be_json(request.header("content-type"))
        if request.header(BINARY_HEADER) is not None:
            raise BadRequest(
                "BinaryTensors",
                "tensors in binary are not read here: send their data as JSON "
                "(binary_data=False in tritonclient)",
                415,
            )
        query, wanted = read_inference(JSON.read(request.content()))
        return query, partial(self._answer, wanted)

    def _answer(self, wanted: Wanted, ranking: Ranking) -> Reply:
        body = _tensors_of(ranking, self._replica.model, wanted)
        return _document(200, body, headers_of(ranking))

    def _ready(self, body: dict[str, Any]) -> Reply:
        reason = self._replica.unready_because()
        if reason is None:
            return _document(200, body | {"ready": True})
        return _document(503, body | {"ready": False, "error": f"not ready: {reason}"})

    def _metadata(self) -> Reply:
        held = sorted({each.ref.version for each in self._replica.loaded.versions.values()})
        return _document(200, _told_of(self._replica.model, [str(number) for number in held]))

    def _not_held(self, version: str) -> Reply | None:
        """Why this version is not here; None where it is."""
        loaded, model = self._replica.loaded, self._replica.model
        if any(str(held.ref.version) == version for held in loaded.versions.values()):
            return None
        for ref in self._replica.routing.release.wanted():
            if str(ref.version) == version:
                state = loaded.state(ref)
                said = f"version {version} is {state.state.lower()} {state.reason}".rstrip()
                return _document(503, {"name": model, "ready": False, "error": said})
        return refusal(404, "NoSuchVersion", f"version {version[:64]!r} is not held here")


def _tensors_of(ranking: Ranking, model: str, wanted: Wanted) -> dict[str, Any]:
    """The body of the answer to an inference."""
    data: dict[str, tuple[str, list[Any]]] = {
        "ids": (wanted.ids, ranking.ids),
        "scores": ("FP64", ranking.scores),
    }
    body: dict[str, Any] = {"model_name": model, "model_version": str(ranking.version)}
    if wanted.id is not None:
        body["id"] = wanted.id
    if ranking.ignored:
        # A parameter is one text, number or truth value in this protocol.
        body["parameters"] = {"ignored": ", ".join(ranking.ignored)}
    body["outputs"] = [
        {
            "name": name,
            "datatype": data[name][0],
            "shape": [len(data[name][1])],
            "data": data[name][1],
        }
        for name in wanted.outputs
    ]
    return body


def _told_of(model: str, versions: list[str]) -> dict[str, Any]:
    """The model and its tensors."""
    return {
        "name": model,
        "versions": versions,
        "platform": "millstream_safetensors",
        "inputs": [
            {"name": name, "datatype": taken[0], "shape": [1 if MOST_VALUES[name] == 1 else -1]}
            for name, taken in INPUTS.items()
        ],
        "outputs": [
            {"name": "ids", "datatype": IDS[0], "shape": [-1]},
            {"name": "scores", "datatype": "FP64", "shape": [-1]},
        ],
    }


def _document(status: int, body: dict[str, Any], headers: Headers = ()) -> Reply:
    return Reply(status, orjson.dumps(body), headers)


def _wrong_method(allowed: str) -> Reply:
    return refusal(405, "WrongMethod", f"use {allowed} here", headers=(("allow", allowed),))
