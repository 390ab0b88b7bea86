"""GET /openapi.json: all that this server answers, made once when it starts.

The bounds are those that the requests are read with. What a path answers and with which headers
stands here once more, and the fuzz tests hold every answer they get against it.
"""

from __future__ import annotations

from typing import Any, Final

from millstream_api.names import (
    HEADER_BATCH,
    HEADER_BUDGET,
    HEADER_VERSION,
    HEADER_WATERMARK,
    MOST_BUDGET_MILLIS,
)
from millstream_serving.http.connection import LARGEST_BODY, REQUEST_SECONDS
from millstream_serving.http.formats import JSON, MSGPACK
from millstream_serving.http.replies import RETRY
from millstream_serving.http.requests import DEFAULT_K
from millstream_serving.http.schemas import Schema, k_schema, ref, schemas

_TOLD: Final = """\
Rankings by a recommender model that is kept fresh. Which version of the model answers is decided
by the release and by the user; every ranking says which one did. Errors are JSON, whatever format
a ranking is asked for in."""

_HEADERS: Final = {
    HEADER_VERSION: {
        "description": "The version that answered; none where none did.",
        "required": True,
        "schema": {"type": "string", "pattern": "^(none|[0-9]+)$"},
    },
    HEADER_BATCH: {
        "description": "The user's batch in this rollout; none without a user.",
        "required": True,
        "schema": {"type": "string", "pattern": "^(none|[0-9]+)$"},
    },
    HEADER_WATERMARK: {
        "description": "Unix seconds of the latest event that the version learned.",
        "required": True,
        "schema": {"type": "string", "pattern": "^(none|-?[0-9]+[.][0-9]{3})$"},
    },
    RETRY: {
        "description": "Seconds after which it is worth trying again.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
}

_BUDGET: Final = {
    "name": HEADER_BUDGET,
    "in": "header",
    "description": "Milliseconds that it may wait for its turn, else as spec.latencyBudgetMillis.",
    "schema": {"type": "integer", "minimum": 1, "maximum": MOST_BUDGET_MILLIS},
}
_REFUSED: Final = {
    400: "Something in the request has to change; the message says what and how.",
    404: "There is no such thing here.",
    408: f"The body did not arrive within {REQUEST_SECONDS:.0f} s.",
    413: f"The body has more than {LARGEST_BODY} bytes.",
    415: "The body is of a type that is not read here.",
    500: "No version has a finite score for this query, or the server is at fault.",
    503: "No version is in force yet, more queries wait than can be answered in time, or its turn "
    "came too late.",
}
_TRACEPARENT: Final = {
    "name": "traceparent",
    "in": "header",
    "description": "Of W3C Trace Context; says whether a server with traces switched on traces it.",
    "schema": {"type": "string"},
}
# A path that is not there, or that refuses all, says so before it looks at a query.
_OF_NO_RANKING: Final = frozenset({404})


def description(model: str, software: str) -> dict[str, Any]:
    """The document.

    Args:
        model: that is served.
        software: version of this program.
    """
    return {
        "openapi": "3.1.0",
        "info": {"title": "millstream server", "version": software, "description": _TOLD},
        "paths": _rankings() | _replica() | _inference(model),
        "components": {
            "schemas": schemas(),
            "headers": _HEADERS,
            "responses": {
                f"{schema}{status}": _refusal(schema, status)
                for schema in ("Error", "InferenceError")
                for status in _REFUSED
            },
        },
    }


def _rankings() -> dict[str, Any]:
    return {
        "/v1/rank": {
            "post": {
                "operationId": "rank",
                "summary": "Rank these items for a user",
                "parameters": [_BUDGET, _TRACEPARENT],
                "requestBody": _body("RankRequest", JSON.content_type, MSGPACK.content_type),
                "responses": _ranked("Ranking", JSON.content_type, MSGPACK.content_type)
                | _refused("Error", 400, 408, 413, 415, 500, 503),
            }
        },
        "/recommend/{user_id}": {
            "get": {
                "operationId": "recommend",
                "summary": "Recommend items to a user: popular and new ones not seen yet",
                "parameters": [
                    _in_path("user_id", {"type": "string", "minLength": 1}),
                    {"name": "k", "in": "query", "schema": k_schema() | {"default": DEFAULT_K}},
                    {
                        "name": "context",
                        "in": "query",
                        "content": {JSON.content_type: {"schema": ref("Context")}},
                    },
                    _BUDGET,
                    _TRACEPARENT,
                ],
                "responses": _ranked("Ranking", JSON.content_type, MSGPACK.content_type)
                | _refused("Error", 400, 500, 503),
            }
        },
    }


def _replica() -> dict[str, Any]:
    return {
        "/release": _get("release", "What this replica holds, serves and counted", "ReplicaReport"),
        "/healthz": _get("healthz", "Whether the process answers", "Alive"),
        "/readyz": _get(
            "readyz", "Whether it should get requests", "Readiness", unready="Readiness"
        ),
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "summary": "Metrics in the text format of Prometheus",
                "responses": {
                    "200": {
                        "description": "All series.",
                        "content": {"text/plain": {"schema": {"type": "string"}}},
                    }
                },
            }
        },
        "/openapi.json": {
            "get": {
                "operationId": "openapi",
                "summary": "This document",
                "responses": {"200": _answer("As OpenAPI 3.1.", {"type": "object"})},
            }
        },
    }


def _inference(model: str) -> dict[str, Any]:
    there = "/v2/models/{model}"
    name = _in_path("model", {"const": model})
    number = _in_path("version", {"type": "string", "pattern": "^[0-9]+$"})
    told = "Which version answers whom is said by the release, so a caller cannot choose one."
    return {
        "/v2": _get("serverMetadata", "Open Inference Protocol 2: the server", "ServerMetadata"),
        "/v2/health/live": _get("serverLive", "Whether the process answers", "Live"),
        "/v2/health/ready": _get(
            "serverReady", "Whether it should get requests", "ServerReady", unready="ServerReady"
        ),
        there: _get("modelMetadata", "The model and its tensors", "ModelMetadata", name),
        f"{there}/ready": _get(
            "modelReady", "Whether the model answers", "ModelReady", name, unready="ModelReady"
        ),
        f"{there}/versions/{{version}}": _get(
            "versionMetadata",
            "The model, if this version is held",
            "ModelMetadata",
            name,
            number,
            unready="ModelReady",
        ),
        f"{there}/versions/{{version}}/ready": _get(
            "versionReady",
            "Whether this version is held",
            "ModelReady",
            name,
            number,
            unready="ModelReady",
        ),
        f"{there}/infer": {
            "post": {
                "operationId": "infer",
                "summary": "Rank these items for a user",
                "description": told,
                "parameters": [name, _BUDGET, _TRACEPARENT],
                "requestBody": _body("InferenceRequest", JSON.content_type),
                "responses": _ranked("InferenceAnswer", JSON.content_type)
                | _refused("InferenceError", 400, 404, 408, 413, 415, 500, 503),
            }
        },
        f"{there}/versions/{{version}}/infer": {
            "post": {
                "operationId": "inferByVersion",
                "summary": "Refused",
                "description": told,
                "parameters": [name, number],
                "responses": _refused("InferenceError", 400, 404),
            }
        },
    }


def _in_path(name: str, schema: Schema) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _body(schema: str, *types: str) -> dict[str, Any]:
    return {
        "description": f"At most {LARGEST_BODY} bytes.",
        "required": True,
        "content": {each: {"schema": ref(schema)} for each in types},
    }


def _get(
    operation: str,
    summary: str,
    schema: str,
    *parameters: dict[str, Any],
    unready: str | None = None,
) -> dict[str, Any]:
    """GET of a document; with parameters in the path there may be no such thing."""
    responses = {"200": _answer("So it is.", ref(schema))}
    if parameters:
        responses |= _refused("InferenceError", 404)
    if unready is not None:
        responses["503"] = _answer("Not now; the answer says why.", ref(unready))
    return {
        "get": {
            "operationId": operation,
            "summary": summary,
            **({"parameters": list(parameters)} if parameters else {}),
            "responses": responses,
        }
    }


def _answer(told: str, schema: Schema) -> dict[str, Any]:
    return {"description": told, "content": {JSON.content_type: {"schema": schema}}}


def _ranked(schema: str, *types: str) -> dict[str, Any]:
    return {
        "200": {
            "description": "Ranked.",
            "headers": _headers(HEADER_VERSION, HEADER_BATCH, HEADER_WATERMARK),
            "content": {each: {"schema": ref(schema)} for each in types},
        }
    }


def _refused(schema: str, *statuses: int) -> dict[str, Any]:
    return {
        str(status): {"$ref": f"#/components/responses/{schema}{status}"} for status in statuses
    }


def _refusal(schema: str, status: int) -> dict[str, Any]:
    """What is refused has no version; where it is worth trying again, the answer says when."""
    told = _answer(_REFUSED[status], ref(schema))
    if status in _OF_NO_RANKING:
        return told
    again = (RETRY,) if status == 503 else ()
    return told | {"headers": _headers(HEADER_VERSION, HEADER_BATCH, *again)}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
