"""The state at a step barrier, copied: what a version will hold while training goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millstream_api.manifest import Watermark
from millstream_core.tables.snapshots import seal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millstream_api.manifest import Validation
    from millstream_core.erasure.ledger import Ledger
    from millstream_core.tables.snapshots import SealedTable, TableSnapshot
    from millstream_trainer.model import LiveModel
    from millstream_trainer.publishing.decisions import PublishDecision


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Copies of everything, all of one instant."""

    number: int  # of this process; names the folder of its data
    is_base: bool
    ledger: Ledger  # of erased keys: none of them is in here
    tables: dict[str, TableSnapshot]
    admission: dict[str, TableSnapshot]
    serve: dict[str, NDArray[Any]]
    train: dict[str, NDArray[Any]]
    step: int
    events: int
    positions: dict[str, int]
    watermark: Watermark | None
    validation: Validation
    taken_at: float  # Unix seconds


def take_snapshot(
    model: LiveModel,
    decision: PublishDecision,
    watermark: Watermark | None,
    validation: Validation,
    *,
    number: int,
    now: float,
) -> Snapshot:
    """Copy the rows written since the last committed version (all of them for a base) and the rest.

    Training stands still meanwhile: this is the stall that a version costs.
    """
    is_base = decision.kind == "base"
    return Snapshot(
        number=number,
        is_base=is_base,
        ledger=model.ledger,
        tables={name: table.snapshot(whole=is_base) for name, table in model.tables.items()},
        admission={
            name: memory.snapshot(whole=is_base)
            for name, memory in model.admission_memory().items()
        },
        serve=model.serve_tensors(),
        train=model.train_tensors(),
        step=model.step,
        events=model.events,
        positions=dict(model.positions),
        watermark=watermark,
        validation=validation,
        taken_at=now,
    )


@dataclass(frozen=True)
class SealedSnapshot:
    """A snapshot whose tables are in the form that servers read."""

    snapshot: Snapshot
    tables: dict[str, SealedTable]
    admission: dict[str, SealedTable]

    @classmethod
    def of(cls, snapshot: Snapshot) -> SealedSnapshot:
        """Seal every table."""
        return cls(
            snapshot,
            {name: seal(table) for name, table in snapshot.tables.items()},
            {name: seal(memory) for name, memory in snapshot.admission.items()},
        )


def joined(first: Watermark | None, second: Watermark | None) -> Watermark | None:
    """The span of event times that covers both."""
    if first is None or second is None:
        return first or second
    return Watermark(first=min(first.first, second.first), last=max(first.last, second.last))
