"""One version of a model in memory: immutable, and whole.

A request takes one of these and asks it for everything: rows, dense weights, histories and
candidates. Holding the reference keeps the rows (see millstream_core.tables.versioned), so a
version goes when the last request that used it is done, and no answer can mix two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from millstream_core.erasure.entries import NOBODY
from millstream_core.features import EMPTY, PAD
from millstream_core.tables.multihash import row_keys
from millstream_serving.engine.contexts import in_context
from millstream_serving.engine.scoring import Scratch, score, scratch_for

if TYPE_CHECKING:
    from millstream_api.manifest import Manifest, VersionRef
    from millstream_core.erasure.ledger import Ledger
    from millstream_core.evaluation import GoldenEvents
    from millstream_core.features import Context, ContextFeatures
    from millstream_core.tables.versioned import TableVersion
    from millstream_serving.engine.networks import Matrix, Weights
    from millstream_serving.engine.rows import StoredRows

Keys = NDArray[np.int64]


class ScratchPad:
    """The scratch memory of one thread; made anew when weights of another shape come by."""

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()
        self._scratch: Scratch | None = None

    def fit(self, weights: Weights, history_length: int) -> Scratch:
        """Scratch that fits these weights."""
        shape = (*weights.query.shape, *weights.head_hidden.shape, history_length)
        if self._scratch is None or shape != self._shape:
            self._shape, self._scratch = shape, scratch_for(weights, history_length)
        return self._scratch


@dataclass(frozen=True, eq=False)
class ModelVersion:
    """Everything that answering with one version needs."""

    ref: VersionRef
    manifest: Manifest
    weights: Weights
    features: ContextFeatures  # what it reads of a context
    context_part: Matrix  # of the head's first layer, [inputs of a context, H1]
    written: dict[str, TableVersion]  # as its writer left them; the next delta goes on from these
    tables: dict[str, TableVersion]  # without the keys erased since: these answer
    rows: dict[str, StoredRows]  # of the tables of embeddings, as the kernel reads them
    popular: Keys  # [<= 200], most clicked lately, best first
    newest: Keys  # [<= 50], newest items
    golden: GoldenEvents  # its last events
    ledger: Ledger = NOBODY  # of erased keys, as of which this answers

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
        length = self.manifest.architecture.history_length
        seen = history[-length:]
        users, rows = self.tables["user"], self.tables["item"]
        weights = self.weights
        if len(self.context_part):
            weights = in_context(
                weights, self.context_part, self.features, self.tables, self.rows, context
            )
        asking, item_keys, seen_keys = (
            self._row_keys("user", np.array([PAD if user is None else user], np.int64)),
            self._row_keys("item", items),
            self._row_keys("item", seen),
        )
        logits = np.empty(len(items), np.float32)
        score(
            weights,
            self.rows["user"],
            asking,
            users.slots(asking),
            self.rows["item"],
            item_keys,
            rows.slots(item_keys),
            seen_keys,
            rows.slots(seen_keys),
            pad.fit(self.weights, length),
            logits,
        )
        return logits

    def _row_keys(self, table: str, keys: Keys) -> Keys:
        """The keys of the rows that these keys read, the parts of one after those of another."""
        by = self.manifest.tables[table].multi_hash
        return keys if by is None else row_keys(keys, by).ravel()

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
