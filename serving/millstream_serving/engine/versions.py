"""One version of a model in memory: immutable, and whole.

A request takes one of these and asks it for everything: rows, dense weights, histories and
candidates. Holding the reference keeps the rows (see millstream_core.tables.versioned), so a
version goes when the last request that used it is done, and no answer can mix two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from millstream_core.erasure.entries import NOBODY
from millstream_core.features import EMPTY, PAD
from millstream_core.tables.multihash import row_keys
from millstream_serving.engine.contexts import inputs_of
from millstream_serving.engine.requests import Lookup, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from millstream_api.manifest import Manifest, VersionRef
    from millstream_api.names import Precision
    from millstream_core.erasure.ledger import Ledger
    from millstream_core.evaluation import GoldenEvents
    from millstream_core.features import Context, ContextFeatures
    from millstream_core.tables.versioned import TableVersion
    from millstream_serving.engine.agreement import Agreement
    from millstream_serving.engine.architectures import Network
    from millstream_serving.engine.rows import StoredRows

Keys = NDArray[np.int64]
Scratch = TypeVar("Scratch")


class ScratchPad:
    """The scratch memory of one thread; made anew when a network of another shape comes by."""

    def __init__(self) -> None:
        self._shape: Hashable = None
        self._scratch: Any = None

    def fit(self, shape: Hashable, make: Callable[[], Scratch]) -> Scratch:
        """The scratch of this shape; what `make` returns where there was another one before."""
        if self._scratch is None or shape != self._shape:
            self._shape, self._scratch = shape, make()
        scratch: Scratch = self._scratch
        return scratch


@dataclass(frozen=True, eq=False)
class ModelVersion:
    """Everything that answering with one version needs."""

    ref: VersionRef
    manifest: Manifest
    network: Network
    graph: bytes | None  # that the network computes, of Custom architectures
    features: ContextFeatures  # what it reads of a context
    written: dict[str, TableVersion]  # as its writer left them; the next delta goes on from these
    tables: dict[str, TableVersion]  # without the keys erased since: these answer
    rows: dict[str, StoredRows]  # of the tables of embeddings, as the kernel reads them
    popular: Keys  # [<= 200], most clicked lately, best first
    newest: Keys  # [<= 50], newest items
    golden: GoldenEvents  # its last events
    ledger: Ledger = NOBODY  # of erased keys, as of which this answers
    precision: Precision = "Float32"  # of the network
    agreement: Agreement | None = None  # of reduced precision with float32; None: not compared

    def logits(
        self,
        user: int | None,
        items: Keys,
        history: Keys,
        pad: ScratchPad,
        context: Context = EMPTY,
    ) -> NDArray[np.float32]:
        """Score candidates for a user.

        Args:
            user: key of the user; None reads as any user without a row.
            items: int64[N], keys of the candidates.
            history: int64[any], keys of clicked items, oldest first; the last L are used.
            pad: of the calling thread.
            context: of the request; what the version has no feature for is not looked at.

        Returns:
            float32[N]; sigmoid makes probabilities of them.
        """
        architecture = self.manifest.architecture
        request = Request(
            self._lookup("user", np.array([PAD if user is None else user], np.int64)),
            self._lookup("item", items),
            self._lookup("item", history[-architecture.history_length :]),
            inputs_of(self.features, architecture.context.dim, self.tables, self.rows, context),
        )
        logits = np.empty(len(items), np.float32)
        self.network.score(request, pad, logits)
        return logits

    def _lookup(self, table: str, keys: Keys) -> Lookup:
        """These keys as those of their rows, the parts of one after those of another."""
        by = self.manifest.tables[table].multi_hash
        keys = keys if by is None else row_keys(keys, by).ravel()
        return Lookup(self.rows[table], keys, self.tables[table].slots(keys))

    def history_of(self, user: int) -> Keys:
        """The items that the user clicked last, oldest first, int64[<= L]."""
        histories = self.tables["history"]
        slot = int(histories.slots(np.array([user], np.int64))[0])
        row: Keys = histories.table.values("items")[slot] if slot >= 0 else np.empty(0, np.int64)
        clicked: Keys = row[row != PAD]
        if self.ledger:
            seq = self.manifest.erasure_seq
            clicked = clicked[~self.ledger.erased("item", clicked, after=seq)]
        return clicked
