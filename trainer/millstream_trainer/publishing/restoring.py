"""From versions in the store to live state: the way back, for restarts and for rewinds.

    commits, newest first ──► not built upon a quarantined one? ──► the shortest way, leg by leg

Runs on the background thread and builds a model of its own, so training can go on meanwhile.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from millstream_api.manifest import Group
from millstream_api.names import CHANNEL_STABLE, OVERFLOW_PATH
from millstream_core.checkpoint import (
    find_way,
    leg_tables,
    live_rows,
    part_reads,
    read_ahead,
    read_dense,
    read_table,
    remembering,
    specs_of,
)
from millstream_core.checkpoint.ahead import AHEAD
from millstream_core.erasure.entries import NOBODY, read_ledger
from millstream_core.store import IntegrityError
from millstream_trainer.model import LiveModel
from millstream_trainer.publishing.standing import ANCESTORS_KNOWN, Standing
from millstream_trainer.publishing.versions import next_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from millstream_api.manifest import Manifest, VersionRef
    from millstream_api.tables import TablesSpec
    from millstream_core.checkpoint import Leg, TableRows
    from millstream_core.checkpoint.reading import PartRead
    from millstream_core.erasure.ledger import Ledger
    from millstream_core.store import ModelStore
    from millstream_core.tables.index import Keys
    from millstream_trainer.design import Design

log = logging.getLogger(__name__)

Line = list[tuple["VersionRef", "Manifest"]]  # a version first, then its ancestors


@dataclass(frozen=True)
class Restorer:
    """What it takes to build live state out of a lineage."""

    store: ModelStore
    downloads: Executor
    design: Design
    dense_learning_rate: float
    device: torch.device
    rules: TablesSpec
    overflow_folder: Path = Path(OVERFLOW_PATH)

    def fresh_model(self) -> LiveModel:
        """Live state that has learned nothing; ValueError where its tables cannot be made."""
        return LiveModel.fresh(
            self.design, self.dense_learning_rate, self.device, self.rules, self.overflow_folder
        )


def quarantined(store: ModelStore) -> tuple[str, ...]:
    """Digests that must not be built upon, as channel `stable` says."""
    found = store.channel(CHANNEL_STABLE)
    return found[0].quarantined if found else ()


def restore_newest(
    restorer: Restorer, forbidden: tuple[str, ...], epoch: int, ledger: Ledger = NOBODY
) -> tuple[LiveModel | None, Standing]:
    """The newest version of the lineage that may be built upon, as live state.

    A version that cannot be read whole is passed over for the one before it, whose stream
    positions then make training learn the difference again.

    Args:
        restorer: of which lineage.
        forbidden: digests of manifests that must not be among the ancestors.
        epoch: of this writer, claimed before.
        ledger: of erased keys, which the live state is to be without; read on where a version
            knows of more.

    Returns:
        (None where there is no such version, where the next version goes).

    Raises:
        Fenced: a newer writer has committed already.
        IntegrityError: there are versions that may be used but none can be read.
        StoreError: the store did not do its part.
    """
    lineage = restorer.design.lineage()
    restorer.store.look_again(lineage)
    next_version = next_number(restorer.store, lineage, epoch)
    unreadable: IntegrityError | None = None
    for number in reversed(restorer.store.commits(lineage)):
        try:
            line = _line(restorer.store, restorer.store.resolve(lineage, number))
            if any(ref.digest in forbidden for ref, _ in line):
                log.info(
                    "version %d is quarantined or built upon one that is",
                    number,
                    extra={"version": number},
                )
                continue
            model = _build(restorer, line, ledger)
        except IntegrityError as error:
            if error.reason == "FormatTooNew":
                raise
            log.warning(
                "version %d cannot be restored: %s", number, error, extra={"version": number}
            )
            unreadable = error
            continue
        ref, manifest = line[0]
        log.info("restored version %d at step %d", number, manifest.step, extra={"version": number})
        return model, Standing(
            next_version=next_version,
            writer_epoch=epoch,
            parent=manifest,
            parent_ref=ref,
            ancestors=tuple(ancestor.digest for ancestor, _ in line),
        )
    if unreadable is not None:
        raise unreadable
    return None, Standing(next_version=next_version, writer_epoch=epoch)


def _reads(
    restorer: Restorer, legs: Sequence[Leg]
) -> Iterator[Callable[[], tuple[Leg, str, TableRows]]]:
    """What fetches each part of each table, oldest leg first."""
    for leg in reversed(legs):
        for name, table in leg_tables(restorer.store, leg).items():
            for part in part_reads(restorer.store, restorer.downloads, leg.target.lineage, table):
                yield partial(_named, leg, name, part)


def _named(leg: Leg, table: str, part: PartRead) -> tuple[Leg, str, TableRows]:
    return leg, table, part.read()


def _line(store: ModelStore, ref: VersionRef) -> Line:
    reach = max(ANCESTORS_KNOWN, store.manifest(ref).chain.length + 1)
    return list(store.ancestry(ref, limit=reach))


def _build(restorer: Restorer, line: Line, ledger: Ledger) -> LiveModel:
    ref = line[0][0]
    legs = _way(restorer, ref, shortcuts=True)
    try:
        return _assembled(restorer, line, legs, ledger)
    except IntegrityError as error:
        is_other = restorer.store.look_again(ref.lineage)
        if not is_other and all(leg.shortcut is None for leg in legs):
            raise
        log.warning(
            "the way to version %d fails, going by steps: %s",
            ref.version,
            error,
            extra={"version": ref.version},
        )
        line = _line(restorer.store, ref)
        return _assembled(restorer, line, _way(restorer, ref, shortcuts=False), ledger)


def _way(restorer: Restorer, ref: VersionRef, *, shortcuts: bool) -> list[Leg]:
    groups = get_args(Group)
    return find_way(restorer.store, ref, held=(), groups=groups, shortcuts=shortcuts)[1]


def _assembled(restorer: Restorer, line: Line, legs: list[Leg], ledger: Ledger) -> LiveModel:
    manifest = line[0][1]
    ledger = _informed(restorer.store, ledger, max(link.erasure_seq for _, link in line))
    model = restorer.fresh_model()
    seq = 0
    with ThreadPoolExecutor(AHEAD, thread_name_prefix="ahead") as threads:
        for leg, name, rows in read_ahead(_reads(restorer, legs), threads):
            # Its writer went on without the keys erased until then, and wrote no tombstones.
            upto = leg.manifest.erasure_seq
            for each, live in model.tables.items() if upto > seq else ():
                live.erase(_erased(model, ledger, each, seq, upto))
            seq = upto
            live = model.tables[name]
            live.restore(live_rows(live.columns, rows))
    # Small, and to be begun anew where a version lacks it: step by step.
    links = [link for _, link in line[: manifest.chain.length + 1]]
    for name, memory in model.admission_memory().items():
        seq, life = 0, model.lives[name.partition(".")[0]]
        for link in reversed(remembering(links, name)):
            life.admission.erase(_erased(model, ledger, name, seq, link.erasure_seq))
            seq = link.erasure_seq
            table = link.admission[name]
            rows = read_table(restorer.store, restorer.downloads, link.lineage, table)
            memory.restore(live_rows(specs_of(table.columns), rows))
    for name, table in manifest.tables.items():
        if model.tables[name].digest != table.digest_after:
            raise IntegrityError(
                "LineageBroken",
                f"table {name} of version {manifest.version} adds up to another state than its "
                "writer had",
            )
    try:
        model.restore_dense(
            read_dense(restorer.store, manifest, "serve"),
            read_dense(restorer.store, manifest, "train"),
        )
    except (KeyError, RuntimeError, ValueError) as error:
        raise IntegrityError(
            "Malformed", f"the weights of version {manifest.version} do not fit: {error}"
        ) from error
    model.step = manifest.step
    model.positions = dict(manifest.positions)
    model.forget(ledger, after=manifest.erasure_seq)
    return model


def _informed(store: ModelStore, ledger: Ledger, seq: int) -> Ledger:
    """The ledger at least up to this entry; keys may have been erased since it was read.

    Raises:
        IntegrityError: it ends before.
    """
    if ledger.seq < seq:
        ledger = read_ledger(store, ledger)
    if ledger.seq < seq:
        raise IntegrityError(
            "LineageBroken", f"a version knows of erasure {seq}, the ledger ends at {ledger.seq}"
        )
    return ledger


def _erased(
    model: LiveModel, ledger: Ledger, name: str, after: int, upto: int
) -> Callable[[Keys], NDArray[np.bool_]]:
    """Which keys of a table, or of what waits for its rows, were erased between two entries."""
    subject = model.design.transform.subject_of(name.partition(".")[0])
    return lambda keys: ledger.erased(subject, keys, after=after, upto=upto)
