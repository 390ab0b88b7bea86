"""What a model is made of, as its settings say; what has learned by it is in `model`.

    settings ──► Design ──► the tables and the network of a live model
                       └──► lineage: the name under which its versions lie

Versions of one lineage can follow each other, so whatever changes what is stored, or how it is
read, is in the name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

from millstream_api.manifest import (
    CLICK,
    Architecture,
    ContextInputs,
    DefaultRow,
    Dtype,
    MultiHash,
)
from millstream_core.checkpoint import stored_columns
from millstream_core.features import PAD, ContextFeatures, Transform
from millstream_core.tables.snapshots import ColumnSpec
from millstream_core.tables.usage import USAGE, USAGE_COLUMN

if TYPE_CHECKING:
    from millstream_api.settings import TrainerSettings
    from millstream_api.tables import EmbeddingTableSpec

ATTENTION: Final = (64, 32)
HEAD: Final = (128, 64)
OF_SEVERAL_TASKS: Final = ("DIN", "MLP")  # architectures whose head has a neuron for each
CONTEXT: Final = "context"  # the table of models whose features read rows
ROW_SPREAD: Final = 0.05  # new rows are drawn from (-ROW_SPREAD, ROW_SPREAD)
SERVED: Final[dict[str, Dtype]] = {
    "float32": "float32",
    "float16": "float16",
    "int8": "int8rows",
}


@dataclass(frozen=True)
class Embeddings:
    """What makes a table of embeddings this table, apart from its width."""

    served: Dtype  # how servers keep the rows
    default: DefaultRow  # what keys without a row read as
    multi_hash: MultiHash | None = None  # how keys become those of rows; None: they are

    @classmethod
    def of(cls, spec: EmbeddingTableSpec, seed: int) -> Embeddings:
        """The table that the settings ask for, its rows drawn from this seed."""
        is_drawn = spec.default_row == "HashInit"
        default = DefaultRow(
            policy=spec.default_row,
            seed=seed if is_drawn else 0,
            spread=ROW_SPREAD if is_drawn else 0.0,
        )
        by = spec.multi_hash
        return cls(
            SERVED[spec.served_as],
            default,
            MultiHash(tables=by.tables, rows=by.rows, seed=by.seed) if by else None,
        )

    def columns(self, width: int) -> dict[str, ColumnSpec]:
        """Columns of the training table by name."""
        return {
            "rows": ColumnSpec(dtype="float32", width=width, serve=self.served, uniform=ROW_SPREAD),
            "accumulator": ColumnSpec(dtype="float32", width=1),
            USAGE: USAGE_COLUMN,
        }


# Bounded by the features themselves, and small: neither rules nor other forms are worth a choice.
_OF_CONTEXTS: Final = Embeddings("float32", DefaultRow())


@dataclass(frozen=True)
class Design:
    """What makes a model this model: change any of it and a new lineage begins."""

    architecture: Architecture
    transform: Transform
    seed: int
    user: Embeddings
    item: Embeddings
    graph: bytes | None = None  # of architecture Custom, whose digest is in the architecture

    @classmethod
    def of(cls, settings: TrainerSettings) -> Design:
        """The design that the settings ask for.

        Raises:
            ValueError: the features make no sense, the module of the user's own does not, or the
                architecture has one task alone.
        """
        if settings.tasks != CLICK and settings.architecture not in OF_SEVERAL_TASKS:
            raise ValueError(
                f"only architectures {' and '.join(OF_SEVERAL_TASKS)} learn conversions, not "
                f"{settings.architecture}: name one of them, or leave tasks out"
            )
        features = ContextFeatures(settings.features)
        context = ContextInputs(
            rows=features.rows,
            dim=settings.feature_dim if features.rows else 0,
            floats=features.floats,
        )
        graph = _graph(settings, context)
        return cls(
            Architecture(
                name=settings.architecture,
                embedding_dim=settings.embedding_dim,
                attention=ATTENTION if settings.architecture == "DIN" else (),
                head=() if graph else HEAD,
                history_length=settings.history_length,
                context=context,
                tasks=settings.tasks,
                module=settings.custom_module,
                graph=None if graph is None else hashlib.sha256(graph).hexdigest(),
            ),
            Transform(history_length=settings.history_length, features=settings.features),
            settings.seed,
            user=Embeddings.of(settings.tables.user, settings.seed),
            item=Embeddings.of(settings.tables.item, settings.seed),
            graph=graph,
        )

    def tables(self) -> dict[str, dict[str, ColumnSpec]]:
        """Columns by table name."""
        width = self.architecture.embedding_dim
        history = ColumnSpec(
            dtype="int64", width=self.architecture.history_length, serve="int64", fill=PAD
        )
        tables = {
            "user": self.user.columns(width),
            "item": self.item.columns(width),
            "history": {"items": history, USAGE: USAGE_COLUMN},
        }
        if self.architecture.context.rows:
            tables[CONTEXT] = _OF_CONTEXTS.columns(self.architecture.context.dim)
        return tables

    def defaults(self) -> dict[str, DefaultRow]:
        """What keys without a row read as, by table name."""
        defaults = {"user": self.user.default, "item": self.item.default}
        return {name: defaults.get(name, DefaultRow()) for name in self.tables()}

    def multi_hashes(self) -> dict[str, MultiHash]:
        """How keys become those of rows, of the tables where they do."""
        found = {"user": self.user.multi_hash, "item": self.item.multi_hash}
        return {name: by for name, by in found.items() if by is not None}

    def lineage(self) -> str:
        """12 hex digits that name all versions of this design: a hash of what they store."""
        defaults = self.defaults()
        described = {
            "architecture": self.architecture.model_dump(mode="json"),
            "transform": self.transform.fingerprint(),
            "seed": self.seed,
            "tables": {
                table: {
                    "columns": {
                        name: column.model_dump(mode="json")
                        for name, column in stored_columns(columns).items()
                    },
                    "default": defaults[table].model_dump(mode="json"),
                }
                for table, columns in self.tables().items()
            },
        }
        hashed = {name: by.model_dump(mode="json") for name, by in self.multi_hashes().items()}
        if hashed:  # lineages of before there was such a thing keep their names
            described["multi_hash"] = hashed
        canonical = orjson.dumps(described, option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(canonical).hexdigest()[:12]


def _graph(settings: TrainerSettings, context: ContextInputs) -> bytes | None:
    if settings.architecture != "Custom":
        return None
    if settings.custom_module is None:
        raise ValueError("architecture Custom needs a module: set custom_module")
    from millstream_trainer.models.custom import export  # noqa: PLC0415 - torch, for few

    width, length = settings.embedding_dim, settings.history_length
    return export(settings.custom_module, width, length, context.width)
