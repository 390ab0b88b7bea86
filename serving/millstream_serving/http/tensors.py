"""What an inference by the Open Inference Protocol asks for: from tensors to a query.

    inputs   user_id[1]  items[n]  history[n]   of INT64 or BYTES      k[1] of INT64
    outputs  ids[n] in the datatype of `items`, best first             scores[n] of FP64

Ids in BYTES reach every user and item: an integer written as text is the same id as the integer,
which is why the metadata declare BYTES, where the protocol has room for one datatype only. The
request's parameters are the context of the ranking, a value each.

Parameters with which clients ask for tensors in binary are taken and change nothing: JSON is what a
server without that extension answers, and what these clients then read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from millstream_serving.http.refusals import BadRequest
from millstream_serving.http.requests import (
    LONGEST_HISTORY,
    MOST_ITEMS,
    read_ids,
    read_k,
    read_values,
    without_fraction,
)
from millstream_serving.ranking.answers import Query

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from millstream_core.features import Context

LONGEST_REQUEST_ID: Final = 256  # characters; it is sent back

REQUEST_FIELDS: Final = frozenset({"id", "parameters", "inputs", "outputs"})
INPUT_FIELDS: Final = frozenset({"name", "shape", "datatype", "parameters", "data"})
OUTPUT_FIELDS: Final = frozenset({"name", "parameters"})

IDS: Final = ("BYTES", "INT64")
INPUTS: Final[Mapping[str, tuple[str, ...]]] = {
    "user_id": IDS,
    "items": IDS,
    "history": IDS,
    "k": ("INT64",),
}
MOST_VALUES: Final = {"user_id": 1, "items": MOST_ITEMS, "history": LONGEST_HISTORY, "k": 1}
OUTPUTS: Final = ("ids", "scores")


@dataclass(frozen=True)
class Wanted:
    """How the answer to an inference is to look."""

    id: str | None  # of the request
    outputs: tuple[str, ...]
    ids: str  # the datatype of the ids


def read_inference(document: Any) -> tuple[Query, Wanted]:
    """The query in the body of an inference, and how to answer it; raises BadRequest."""
    if not isinstance(document, dict):
        raise BadRequest("WrongType", 'the body must be an object such as {"inputs": [...]}')
    _refuse_unknown(document, REQUEST_FIELDS, "the request")
    given = document.get("inputs")
    if not isinstance(given, list) or len(given) > len(INPUTS):
        raise BadRequest(
            "WrongType", f'"inputs" must be a list of some of the tensors {", ".join(INPUTS)}'
        )
    datatypes: dict[str, str] = {}
    values: dict[str, list[Any]] = {}
    for each in given:
        name = _name_of(each, INPUT_FIELDS, INPUTS, "input")
        if name in values:
            raise BadRequest("Repeated", f'the input "{name}" is there twice: send it once')
        datatypes[name], values[name] = _read_tensor(each, name)
    if "items" not in values:
        raise BadRequest("MissingField", 'the input "items" is missing: list the ids to rank')
    items = read_ids(values["items"], "items", MOST_ITEMS)
    if not items:
        raise BadRequest("NoItems", 'the input "items" is empty: list the ids to rank')
    user, history = values.get("user_id"), values.get("history")
    query = Query(
        user_id=None if user is None else read_ids(user, "user_id", 1)[0],
        items=items,
        history=None if history is None else read_ids(history, "history", LONGEST_HISTORY),
        k=read_k(values["k"][0]) if "k" in values else len(items),
        context=_read_context(document),
    )
    return query, Wanted(
        _read_request_id(document.get("id")),
        _read_outputs(document.get("outputs")),
        datatypes["items"],
    )


def _read_tensor(given: dict[str, Any], name: str) -> tuple[str, list[Any]]:
    """Its datatype and its values, of which each is of that type."""
    datatype, shape, data = given.get("datatype"), given.get("shape"), given.get("data")
    taken = INPUTS[name]
    if datatype not in taken:
        raise BadRequest("WrongType", f'the datatype of "{name}" must be {" or ".join(taken)}')
    if "data" not in given:
        raise BadRequest(
            "MissingField", f'"{name}" has no "data": send its values as JSON, not in binary'
        )
    if not isinstance(data, list):
        raise BadRequest("WrongType", f'the data of "{name}" must be a list of its values')
    most = MOST_VALUES[name]
    if most == 1 and len(data) != 1:
        raise BadRequest("WrongShape", f'"{name}" must have one value, not {len(data)}')
    # True is 1 to Python, also inside a list.
    if shape != [len(data)] or isinstance(shape[0], bool):
        raise BadRequest(
            "WrongShape", f'the shape of "{name}" must be [{len(data)}], as many values as it has'
        )
    _refuse_unknown(_parameters_of(given, name), frozenset(), f'the parameters of "{name}"')
    fitting: list[Any]
    if datatype == "BYTES":
        fitting = [value for value in data if isinstance(value, str)]
    else:
        fitting = [number for value in data if (number := _integer(value)) is not None]
    if len(fitting) < len(data):
        wanted = "a string" if datatype == "BYTES" else "an integer of 64 bits"
        raise BadRequest(
            "WrongType", f'every value of "{name}" must be {wanted}, as its datatype says'
        )
    return datatype, fitting


def _integer(value: Any) -> int | None:
    # Clients made from the protocol's schema send 7.0: it knows numbers and no integers.
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    return without_fraction(value)


def _read_outputs(given: Any) -> tuple[str, ...]:
    if given is None or given == []:
        return OUTPUTS
    if not isinstance(given, list) or len(given) > len(OUTPUTS):
        raise BadRequest("WrongType", f'"outputs" must list some of {", ".join(OUTPUTS)}')
    names = [_name_of(each, OUTPUT_FIELDS, OUTPUTS, "output") for each in given]
    if len(set(names)) < len(names):
        raise BadRequest("Repeated", f'the output "{names[0]}" is asked for twice')
    for each, name in zip(given, names, strict=True):
        parameters = _without_binary(_parameters_of(each, name), "binary_data")
        _refuse_unknown(parameters, frozenset(), f'the parameters of "{name}"')
    return tuple(names)


def _read_context(document: dict[str, Any]) -> Context:
    parameters = _without_binary(_parameters_of(document, "the request"), "binary_data_output")
    try:
        return read_values(parameters)
    except BadRequest as error:
        raise BadRequest(
            error.reason, f"the parameters of the request are its context, and {error}"
        ) from error


def _read_request_id(given: Any) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or len(given) > LONGEST_REQUEST_ID:
        raise BadRequest(
            "WrongType", f'"id" must be a text of at most {LONGEST_REQUEST_ID} characters'
        )
    return given


def _name_of(given: Any, fields: frozenset[str], known: Collection[str], kind: str) -> str:
    """The name of an input or an output, in which all else is a field of the protocol."""
    if not isinstance(given, dict):
        raise BadRequest("WrongType", f'an {kind} must be an object such as {{"name": ...}}')
    _refuse_unknown(given, fields, f"an {kind}")
    name = given.get("name")
    if not isinstance(name, str) or name not in known:
        raise BadRequest(
            "UnknownField", f'the "name" of an {kind} must be one of {", ".join(known)}'
        )
    return name


def _parameters_of(given: dict[str, Any], what: str) -> dict[str, Any]:
    parameters = given.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise BadRequest("WrongType", f"the parameters of {what} must be an object")
    return parameters


def _without_binary(parameters: dict[str, Any], flag: str) -> dict[str, Any]:
    if flag not in parameters:
        return parameters
    if not isinstance(parameters[flag], bool):
        raise BadRequest("WrongType", f'the parameter "{flag}" must be true or false')
    return {name: value for name, value in parameters.items() if name != flag}


def _refuse_unknown(given: dict[str, Any], fields: frozenset[str], what: str) -> None:
    unknown = sorted(given.keys() - fields)
    if unknown:
        there = f"the fields are {', '.join(sorted(fields))}" if fields else "there are none"
        raise BadRequest("UnknownField", f"unknown field {unknown[0][:64]!r} in {what}: {there}")
