"""Making a version exist: data, manifest, commit, then the channel `latest`.

Runs on the background thread with a snapshot that nobody changes any more. Whatever fails, the
store holds the old state or the new one, and the caller still has everything it needs to try
again: rows count as published only once the commit is known.

A reply to a commit can be lost so that the version exists although this side believes it failed.
That is harmless: the next attempt finds the number taken under its own epoch, which nobody else
has, and goes on to the next number from the same parent, with at least the same rows.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from millstream_api.manifest import Channel, Manifest
from millstream_api.names import CHANNEL_LATEST
from millstream_core.checkpoint import Folder, write_dense, write_table
from millstream_core.store import PreconditionFailed, StoreUnavailable, VersionTaken, WriterReplaced

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from millstream_api.manifest import Group, ObjectRef
    from millstream_core.store import ModelStore
    from millstream_trainer.design import Design
    from millstream_trainer.publishing.snapshots import SealedSnapshot
    from millstream_trainer.publishing.standing import Standing

log = logging.getLogger(__name__)

TRIES: Final = 5  # at a number or a channel that others move at the same time


class Fenced(Exception):  # noqa: N818
    """A newer writer of this lineage has taken over; this process must publish no more."""


@dataclass(frozen=True)
class Writer:
    """Who publishes, of what, to where."""

    store: ModelStore
    uploads: Executor
    design: Design
    model: str
    name: str  # of the worker
    token: str  # of this process, unlike that of any other: no two write to one folder
    producer: str  # build


def write_version(writer: Writer, sealed: SealedSnapshot, standing: Standing) -> Manifest:
    """Commit a snapshot as the next version.

    Raises:
        Fenced: a writer of a newer epoch has claimed the lineage.
        StoreError: the store did not do its part; nothing is lost.
    """
    version = standing.next_version
    transform = writer.design.transform.canonical()
    if sealed.snapshot.is_base:
        writer.store.put_transform(transform)
    for _ in range(TRIES):
        manifest = _write_data(writer, sealed, standing, version)
        try:
            writer.store.commit(manifest)
        except VersionTaken as taken:
            version = next_number(writer.store, manifest.lineage, standing.writer_epoch)
            log.info("%s: trying version %d", taken, version)
        except WriterReplaced as replaced:
            raise fenced(replaced) from replaced
        else:
            if sealed.snapshot.is_base:
                # Whoever collects may have taken an equal document for unused just before.
                writer.store.put_transform(transform)
            return manifest
    raise StoreUnavailable(f"other writers took {TRIES} version numbers in a row")


def next_number(store: ModelStore, lineage: str, epoch: int) -> int:
    """The number after the newest one taken.

    Raises:
        Fenced: that was taken under a higher epoch than this one.
    """
    newest = store.newest_commit(lineage)
    if newest is None:
        return 1
    number, commit = newest
    if commit.writer_epoch > epoch:
        raise fenced(WriterReplaced(lineage, epoch, commit.writer_epoch))
    return number + 1


def fenced(replaced: WriterReplaced) -> Fenced:
    """The end of this process, explained."""
    return Fenced(f"{replaced}: another trainer of this model has taken over, so this one stops")


def move_latest(writer: Writer, manifest: Manifest, now: float) -> None:
    """Point the channel `latest` at this version unless it points further already.

    Raises:
        StoreError: the channel may not have moved.
    """
    ref = manifest.ref()
    for _ in range(TRIES):
        found = writer.store.channel(CHANNEL_LATEST)
        target = found[0].target if found else None
        if target and target.lineage == ref.lineage and target.version >= ref.version:
            return
        channel = Channel(
            target=ref,
            previous=target,
            reason="Published",
            actor=writer.name,
            moved_at=now,
            quarantined=found[0].quarantined if found else (),
        )
        try:
            writer.store.move_channel(CHANNEL_LATEST, channel, etag=found[1] if found else None)
        except PreconditionFailed:
            continue
        return
    raise StoreUnavailable(f"channel {CHANNEL_LATEST} was moved by others {TRIES} times in a row")


def _write_data(
    writer: Writer, sealed: SealedSnapshot, standing: Standing, version: int
) -> Manifest:
    snapshot = sealed.snapshot
    lineage = writer.design.lineage()
    folder = Folder(
        writer.store,
        writer.uploads,
        lineage,
        f"data/{version}-{writer.token}.{snapshot.number}",
    )
    dense: dict[Group, ObjectRef] = {
        "serve": write_dense(folder, "serve", snapshot.serve),
        "train": write_dense(folder, "train", snapshot.train),
    }
    # A delta's is that of its base: the lineage's name says that it is the same.
    graph = standing.parent.graph if standing.parent and not snapshot.is_base else None
    if graph is None and writer.design.graph is not None:
        graph = folder.put("serve/graph.onnx", writer.design.graph)
    defaults, hashed = writer.design.defaults(), writer.design.multi_hashes()
    tables = {
        name: write_table(folder, name, table, defaults[name], hashed.get(name))
        for name, table in sealed.tables.items()
    }
    manifest = Manifest(
        model=writer.model,
        lineage=lineage,
        version=version,
        kind="base" if snapshot.is_base else "delta",
        parent=standing.parent_ref,
        chain=standing.chain(version, 0, is_base=snapshot.is_base),
        writer=writer.name,
        writer_epoch=standing.writer_epoch,
        step=snapshot.step,
        created_at=snapshot.taken_at,
        watermark=snapshot.watermark,
        positions=snapshot.positions,
        architecture=writer.design.architecture,
        transform=writer.design.transform.fingerprint(),
        dense=dense,
        graph=graph,
        tables=tables,
        admission={
            name: write_table(folder, name, memory) for name, memory in sealed.admission.items()
        },
        validation=snapshot.validation,
        erasure_seq=snapshot.ledger.seq,
        producer=writer.producer,
    )
    served = version_bytes(manifest)["serve"]
    return manifest.changed(chain=standing.chain(version, served, is_base=snapshot.is_base))


def version_bytes(manifest: Manifest) -> dict[Group, int]:
    """Bytes of a version's own objects by group."""
    total = {group: obj.bytes for group, obj in manifest.dense.items()}
    for table in (*manifest.tables.values(), *manifest.admission.values()):
        for shard in table.shards:
            objects = [shard.keys, *shard.columns.values()]
            objects += [gone for gone in (shard.evicted, shard.erased) if gone is not None]
            total[shard.group] += sum(obj.bytes for obj in objects)
    return total
