"""What may be wrong with a version, as an ordered list of small checks; the first finding counts.

The store has verified every digest by the time these run. They ask what digests cannot: whether
the version fits the one below it, and whether its numbers are fit to answer with. A version that
fails one never answers a request, and the refusal says which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from millstream_api.manifest import Column, Manifest, Redacted, Table, VersionRef
from millstream_core.evaluation import GoldenEvents
from millstream_core.features import ContextFeatures, Transform
from millstream_core.tables.encoding import finite_rows
from millstream_serving.engine.architectures import shapes_of
from millstream_serving.engine.contexts import CONTEXT
from millstream_serving.engine.layouts import UnknownArchitecture

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from millstream_api.manifest import Architecture
    from millstream_core.checkpoint import TableRows
    from millstream_core.tables.versioned import TableVersion

CANDIDATES: Final = ("candidates.popular", "candidates.new")
MOST_CANDIDATES: Final = 10_000  # all of them may be scored in one request
MOST_GRAPH_BYTES: Final = 4 << 20  # of a graph without its weights: hundreds of times the usual
READABLE: Final = ("float32", "float16", "int8rows")  # the forms its kernel decodes


@dataclass(frozen=True)
class Finding:
    """What is wrong, in one word for programs and one sentence for people."""

    reason: str
    message: str


class Refused(Exception):  # noqa: N818 - named for what is the case
    """This version must not serve."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Unsettled(Exception):  # noqa: N818 - named for what is the case
    """This version cannot be read until an erasure is finished in the store: to be tried again."""


@dataclass(frozen=True)
class Step:
    """One version about to be applied: what is known before its rows are fetched."""

    ref: VersionRef
    manifest: Manifest
    parent: Manifest | None  # of the version below; None for a base
    transform: bytes | None  # the document that the manifest names; None: the parent's, checked
    tables: Mapping[str, Table]  # the rows to apply: the version's own, or a shorter way's


def serve_columns(manifest: Manifest) -> dict[str, dict[str, Column]]:
    """The columns that travel to servers, by table."""
    return {
        name: {column: spec for column, spec in table.columns.items() if spec.group == "serve"}
        for name, table in manifest.tables.items()
    }


def embeddings(architecture: Architecture) -> dict[str, int]:
    """The tables whose rows a network reads, and how many values are in a row."""
    width, context = architecture.embedding_dim, architecture.context
    tables = {"user": width, "item": width}
    return tables | {CONTEXT: context.dim} if context.rows else tables


def _is_not_itself(step: Step) -> Finding | None:
    manifest, ref = step.manifest, step.ref
    if (manifest.lineage, manifest.version) != (ref.lineage, ref.version):
        return Finding(
            "LineageBroken",
            f"the manifest calls itself {manifest.lineage}/{manifest.version}, "
            f"not {ref.lineage}/{ref.version}",
        )
    return None


def _parent_is_elsewhere(step: Step) -> Finding | None:
    below = step.manifest.parent
    if step.parent is None or below is None:
        return None
    if below.lineage == step.ref.lineage and below.version < step.ref.version:
        return None
    return Finding(
        "LineageBroken",
        f"a delta follows an earlier version of its own lineage, not {below.lineage}/"
        f"{below.version}",
    )


def _architecture_is_unknown(step: Step) -> Finding | None:
    try:
        shapes_of(step.manifest.architecture)
    except UnknownArchitecture as error:
        return Finding("ArchitectureUnknown", str(error))
    return None


def _architecture_changed(step: Step) -> Finding | None:
    if step.parent is None or step.manifest.architecture == step.parent.architecture:
        return None
    return Finding("ArchitectureMismatch", "a delta cannot change the architecture: publish a base")


def _graph_is_unfit(step: Step) -> Finding | None:
    architecture, graph = step.manifest.architecture, step.manifest.graph
    digest = None if graph is None else graph.sha256
    wanted = architecture.graph if architecture.name == "Custom" else None
    if digest != wanted:
        return Finding(
            "Malformed", f"its architecture is computed by graph {wanted}, it brings {digest}"
        )
    if graph is not None and graph.bytes > MOST_GRAPH_BYTES:
        return Finding(
            "Oversized", f"its graph has {graph.bytes} bytes, {MOST_GRAPH_BYTES} are the most"
        )
    return None


def _transform_changed(step: Step) -> Finding | None:
    if step.parent is None or step.manifest.transform == step.parent.transform:
        return None
    return Finding("TransformMismatch", "a delta cannot change the transform: publish a base")


def _transform_is_unknown(step: Step) -> Finding | None:
    if step.transform is None:
        return None
    try:
        transform = Transform.parse(step.transform)
        features = ContextFeatures(transform.features)
    except ValueError as error:  # pydantic's, too
        return Finding("TransformMismatch", f"this server cannot do its transform: {error}")
    architecture = step.manifest.architecture
    ours = Transform(history_length=architecture.history_length, features=transform.features)
    if transform != ours:
        return Finding(
            "TransformMismatch", f"its transform is {transform!r}, this server does {ours!r}"
        )
    context = architecture.context
    if (features.rows, features.floats) != (context.rows, context.floats):
        return Finding(
            "TransformMismatch",
            f"its transform gives {features.rows} rows and {features.floats} floats of a context, "
            f"its architecture reads {context.rows} and {context.floats}",
        )
    return None


def _columns_differ(step: Step) -> Finding | None:
    shape = step.manifest.architecture
    found = serve_columns(step.manifest)
    history = Column(dtype="int64", width=shape.history_length, group="serve")
    expected = {"history": {"items": history}}
    for name, width in embeddings(shape).items():
        rows = found.get(name, {}).get("rows")
        dtype = rows.dtype if rows is not None and rows.dtype in READABLE else "float32"
        column = Column(dtype=dtype, width=width, group="serve")
        expected[name] = {"rows": column}
    if found == expected:
        return None
    return Finding("ColumnsMismatch", f"its tables are {found}, this server reads {expected}")


def _default_row_changed(step: Step) -> Finding | None:
    if step.parent is None:
        return None
    for name, table in step.manifest.tables.items():
        below = step.parent.tables[name]
        if (table.default, table.multi_hash) != (below.default, below.multi_hash):
            return Finding(
                "DefaultRowMismatch",
                f"a delta cannot change how keys of {name} are read, with a row or without: "
                "publish a base",
            )
    return None


def _state_before_differs(step: Step) -> Finding | None:
    # Where keys were erased in between, the state afterwards tells what this one cannot.
    if step.parent is None or _was_redacted_between(step.parent, step.manifest):
        return None
    for name, table in step.tables.items():
        if table.digest_before != step.parent.tables[name].digest_after:
            return Finding(
                "StateDigestMismatch",
                f"table {name} was {table.digest_before} to the writer and is "
                f"{step.parent.tables[name].digest_after} here",
            )
    return None


def _was_redacted_between(parent: Manifest, manifest: Manifest) -> bool:
    return parent.erasure_seq != manifest.erasure_seq or isinstance(parent, Redacted)


# Who it is comes before what it holds; columns are compared before tables are indexed by name.
BEFORE_FETCHING: Final[tuple[Callable[[Step], Finding | None], ...]] = (
    _is_not_itself,
    _parent_is_elsewhere,
    _architecture_is_unknown,
    _architecture_changed,
    _graph_is_unfit,
    _transform_changed,
    _transform_is_unknown,
    _columns_differ,
    _default_row_changed,
    _state_before_differs,
)


def refuse_misfit(step: Step) -> None:
    """Raise Refused with the first finding about a version that is not fetched yet."""
    for check in BEFORE_FETCHING:
        finding = check(step)
        if finding is not None:
            raise Refused(finding.reason, f"version {step.ref.version}: {finding.message}")


def refuse_dense(version: int, dense: Mapping[str, NDArray[Any]]) -> None:
    """Raise Refused where dense weights or candidates are not fit to answer with."""
    for name, array in dense.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Refused("NonFiniteWeights", f"version {version}: {name} is not finite")
    for name in CANDIDATES:
        array = dense.get(name, np.empty(0))
        if array.dtype != np.int64 or array.ndim != 1 or len(array) > MOST_CANDIDATES:
            raise Refused(
                "Malformed",
                f"version {version}: {name} must be a list of at most {MOST_CANDIDATES} int64 keys",
            )
    try:
        GoldenEvents.of(dense)
    except ValueError as error:
        raise Refused("Malformed", f"version {version}: {error}") from error


def refuse_rows(manifest: Manifest, table: str, rows: TableRows) -> None:
    """Raise Refused where some row is not finite, in whatever form it is stored."""
    columns = manifest.tables[table].columns
    for column, values in rows.columns.items():
        bad = len(values) - int(np.count_nonzero(finite_rows(values, columns[column].dtype)))
        if bad:
            raise Refused(
                "NonFiniteRows",
                f"version {manifest.version}: {bad} of {len(values)} rows of {table}.{column} "
                "are not finite",
            )


def refuse_state(manifest: Manifest, table: str, applied: TableVersion) -> None:
    """Raise Refused where the table did not become what the writer says it is."""
    said = manifest.tables[table]
    if applied.digest != said.digest_after or applied.rows != said.rows:
        raise Refused(
            "StateDigestMismatch",
            f"version {manifest.version}: table {table} has {applied.rows} rows and digest "
            f"{applied.digest} here, {said.rows} and {said.digest_after} to the writer",
        )
