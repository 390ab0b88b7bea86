"""What goes in and out, as JSON Schema, with the very bounds that the reading applies.

Two things are said in words alone, for JSON Schema cannot: that a tensor's shape counts its data,
and that a text of decimal digits is an integer, which has to fit 64 bits.
"""

from __future__ import annotations

from typing import Any, Final

from millstream_api.features import LONGEST_NAME, LONGEST_TEXT
from millstream_api.reports import ReplicaReport
from millstream_core.features import PAD
from millstream_core.features.context import MOST_GIVEN
from millstream_serving.http.requests import LARGEST_K, LONGEST_HISTORY, MOST_ITEMS
from millstream_serving.http.tensors import (
    INPUTS,
    LONGEST_REQUEST_ID,
    MOST_VALUES,
    OUTPUTS,
)

Schema = dict[str, Any]

_REFERENCE: Final = "#/components/schemas/{model}"

_INTEGER_ID: Final[Schema] = {"type": "integer", "minimum": PAD + 1, "maximum": 2**63 - 1}
_TEXT_ID: Final[Schema] = {"type": "string", "minLength": 1}
_VALUE: Final[Schema] = {
    "anyOf": [{"type": "string", "maxLength": LONGEST_TEXT}, {"type": "number"}, {"type": "null"}]
}
_TEXT: Final[Schema] = {"type": "string"}
_TRUTH: Final[Schema] = {"type": "boolean"}
_VERSION: Final[Schema] = {"type": "integer", "minimum": 0}


def ref(name: str) -> Schema:
    """The schema of this name."""
    return {"$ref": _REFERENCE.format(model=name)}


def an_object(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": False,
    }


def a_list(of: Schema, least: int = 0, most: int | None = None) -> Schema:
    """A list of so many."""
    bounds = {"minItems": least} if most is None else {"minItems": least, "maxItems": most}
    return {"type": "array", "items": of, **bounds}


def k_schema() -> Schema:
    """How many to answer with."""
    return {"type": "integer", "minimum": 1, "maximum": LARGEST_K}


def schemas() -> dict[str, Schema]:
    """All by name."""
    return _of_rankings() | _of_the_replica() | _of_inference()


def _of_rankings() -> dict[str, Schema]:
    return {
        "Id": {
            "description": "Of a user or an item. An integer written as text is the same id; "
            "other texts are any.",
            "anyOf": [_INTEGER_ID, _TEXT_ID],
        },
        "Context": {
            "description": "Values of context features by name; what has no value may be null.",
            "type": ["object", "null"],
            "maxProperties": MOST_GIVEN,
            "propertyNames": {"maxLength": LONGEST_NAME},
            "additionalProperties": _VALUE,
        },
        "RankRequest": an_object(
            {"items": a_list(ref("Id"), 1, MOST_ITEMS)},
            {
                "user_id": {
                    "description": "Without one, stable answers.",
                    "anyOf": [ref("Id"), {"type": "null"}],
                },
                "history": {
                    "description": "Items the user clicked, oldest first; left out or null: those "
                    "that the model knows of.",
                    "anyOf": [a_list(ref("Id"), 0, LONGEST_HISTORY), {"type": "null"}],
                },
                "context": ref("Context"),
                "k": k_schema() | {"description": "Left out: all items."},
            },
        ),
        "Ranking": an_object(
            {
                "version": _VERSION | {"description": "That answered."},
                "batch": {
                    "description": "Of the user in this rollout; null without a user.",
                    "type": ["integer", "null"],
                    "minimum": 0,
                },
                "items": {
                    "description": "Best first.",
                    **a_list(
                        an_object(
                            {
                                "id": ref("Id"),
                                "score": {"type": "number", "minimum": 0, "maximum": 1},
                            }
                        )
                    ),
                },
            },
            {
                "ignored": {
                    "description": "Values in the context that the model has no feature for.",
                    **a_list(_TEXT, 1),
                }
            },
        ),
        "Error": an_object(
            {
                "error": an_object(
                    {
                        "reason": {"type": "string", "pattern": "^[A-Z][A-Za-z]+$"},
                        "message": {"type": "string", "minLength": 1},
                    }
                )
            }
        ),
    }


def _of_the_replica() -> dict[str, Schema]:
    report = ReplicaReport.model_json_schema(mode="serialization", ref_template=_REFERENCE)
    return {
        **report.pop("$defs"),
        "ReplicaReport": report,
        "Alive": an_object({"status": {"const": "ok"}}),
        "Readiness": an_object({"ready": _TRUTH, "reason": _TEXT}),
    }


def _of_inference() -> dict[str, Schema]:
    tensor = {"name": _TEXT, "datatype": _TEXT, "shape": a_list({"type": "integer"})}
    binary = {"type": "boolean", "description": "Changes nothing: the answer is JSON."}
    return {
        "InferenceError": an_object({"error": {"type": "string", "minLength": 1}}),
        "ServerMetadata": an_object(
            {"name": _TEXT, "version": _TEXT, "extensions": a_list(_TEXT, 0, 0)}
        ),
        "ModelMetadata": an_object(
            {
                "name": _TEXT,
                "versions": a_list({"type": "string", "pattern": "^[0-9]+$"}),
                "platform": _TEXT,
                "inputs": a_list(an_object(tensor), len(INPUTS), len(INPUTS)),
                "outputs": a_list(an_object(tensor), len(OUTPUTS), len(OUTPUTS)),
            }
        ),
        "Live": an_object({"live": {"const": True}}),
        "ServerReady": an_object({"live": {"const": True}, "ready": _TRUTH}, {"error": _TEXT}),
        "ModelReady": an_object({"name": _TEXT, "ready": _TRUTH}, {"error": _TEXT}),
        "InferenceRequest": an_object(
            {
                "inputs": {
                    "description": "Each at most once, and `items` at least.",
                    "type": "array",
                    "minItems": 1,
                    "maxItems": len(INPUTS),
                    "items": {
                        "anyOf": [_input(name, each) for name in INPUTS for each in INPUTS[name]]
                    },
                    "contains": {"properties": {"name": {"const": "items"}}},
                }
            },
            {
                "id": {
                    "description": "Comes back with the answer.",
                    "type": ["string", "null"],
                    "maxLength": LONGEST_REQUEST_ID,
                },
                "parameters": {
                    "description": "The context: values of context features by name.",
                    "type": ["object", "null"],
                    "maxProperties": MOST_GIVEN,
                    "propertyNames": {"maxLength": LONGEST_NAME},
                    "properties": {"binary_data_output": binary},
                    "additionalProperties": _VALUE,
                },
                "outputs": {
                    "description": "Each at most once; left out or empty: both.",
                    "type": ["array", "null"],
                    "maxItems": len(OUTPUTS),
                    "items": an_object(
                        {"name": {"enum": list(OUTPUTS)}},
                        {
                            "parameters": an_object({}, {"binary_data": binary})
                            | {"type": ["object", "null"]}
                        },
                    ),
                },
            },
        ),
        "InferenceAnswer": an_object(
            {
                "model_name": _TEXT,
                "model_version": {"type": "string", "pattern": "^[0-9]+$"},
                "outputs": a_list(
                    {
                        "anyOf": [
                            _output("ids", "INT64", _INTEGER_ID),
                            _output("ids", "BYTES", _TEXT_ID),
                            _output("scores", "FP64", {"type": "number"}),
                        ]
                    },
                    1,
                    len(OUTPUTS),
                ),
            },
            {
                "id": {"type": "string", "maxLength": LONGEST_REQUEST_ID},
                "parameters": an_object(
                    {
                        "ignored": {
                            "description": "Names of parameters that the model has no feature for.",
                            "type": "string",
                        }
                    }
                ),
            },
        ),
    }


def _input(name: str, datatype: str) -> Schema:
    most = MOST_VALUES[name]
    value = {"BYTES": _TEXT_ID, "INT64": k_schema() if name == "k" else _INTEGER_ID}[datatype]
    least = 0 if name == "history" else 1
    return an_object(
        {
            "name": {"const": name},
            "datatype": {"const": datatype},
            "shape": {
                "description": "How many values there are.",
                **a_list({"type": "integer", "minimum": least, "maximum": most}, 1, 1),
            },
            "data": a_list(value, least, most),
        },
        {"parameters": {"type": ["object", "null"], "maxProperties": 0}},
    )


def _output(name: str, datatype: str, value: Schema) -> Schema:
    return an_object(
        {
            "name": {"const": name},
            "datatype": {"const": datatype},
            "shape": a_list({"type": "integer", "minimum": 1, "maximum": MOST_ITEMS}, 1, 1),
            "data": a_list(value, 1, MOST_ITEMS),
        }
    )
