"""What a server holds without what was erased: at once, whatever the store still holds.

    as written ──► the next delta is applied to this, so that state digests agree with its writer's
        └── without the keys erased since ──► this answers

Most versions are the same both ways, and the rest share all rows but the erased ones, which go
from memory with the last version that was written with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import numpy as np

from millstream_core.erasure.entries import NOBODY
from millstream_core.features import Transform
from millstream_serving.engine.rows import rows_of
from millstream_serving.loading.checks import embeddings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millstream_core.erasure.ledger import Ledger
    from millstream_core.tables.index import KeyIndex
    from millstream_core.tables.versioned import TableVersion
    from millstream_serving.engine.versions import ModelVersion

_TABLES: Final = Transform(history_length=1)  # the names of tables that this server reads


@dataclass
class _Met:
    """The keys of an index, met in any version, that the ledger names."""

    looked_through: int = 0  # of the index's keys, in order of their coming
    keys: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


class Forgetting:
    """Applies the ledger to versions in memory; used by the loading thread."""

    def __init__(self) -> None:
        """Nobody was erased."""
        self.ledger = NOBODY
        self._met: WeakKeyDictionary[KeyIndex, _Met] = WeakKeyDictionary()

    def learn(self, ledger: Ledger) -> None:
        """Go by this ledger from now on."""
        self.ledger = ledger
        self._met.clear()

    def forgotten(self, version: ModelVersion) -> ModelVersion:
        """A version as it may answer: without what was erased after it was written."""
        manifest, seq = version.manifest, version.manifest.erasure_seq
        tables = {
            name: self.without(name, table, after=seq) for name, table in version.written.items()
        }
        popular, newest = (
            items[~self.ledger.erased("item", items, after=seq)]
            for items in (version.popular, version.newest)
        )
        return replace(
            version,
            tables=tables,
            rows={
                name: rows_of(
                    tables[name], manifest.tables[name].default, manifest.tables[name].multi_hash
                )
                for name in embeddings(manifest.architecture)
            },
            popular=popular,
            newest=newest,
            golden=version.golden.without(partial(self.ledger.erased, after=seq)),
            ledger=self.ledger,
        )

    def without(
        self, name: str, version: TableVersion, *, after: int, upto: int | None = None
    ) -> TableVersion:
        """A table without the keys erased by entries of number after < seq <= upto.

        Args:
            name: of the table.
            version: of it; returned itself where it holds none of them.
            after: an entry's number.
            upto: an entry's number; None: the newest.
        """
        subject = _TABLES.subject_of(name)
        keys = self._met_in(version.index, subject)
        keys = keys[self.ledger.erased(subject, keys, after=after, upto=upto)]
        keys = keys[version.slots(keys) >= 0]
        if not len(keys):
            return version
        nothing = {column: version.table.values(column)[:0] for column in version.table.columns}
        return version.table.load(version, keys[:0], nothing, keys, whole=False)

    def _met_in(self, index: KeyIndex, subject: str) -> NDArray[np.int64]:
        met = self._met.setdefault(index, _Met())
        new = index.keys()[met.looked_through :]
        found = new[self.ledger.erased(subject, new)]
        met.looked_through += len(new)
        met.keys = np.concatenate([met.keys, found])
        return met.keys
