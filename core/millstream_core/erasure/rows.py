"""One version's rows without what was erased: what is taken out, and what is left to write.

Rows, tombstones and what waits for a row lose the keys of their own subject. A history belongs to
its user and names items: of an erased item it loses the mention, and stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from millstream_core.evaluation import golden
from millstream_core.features import PAD
from millstream_core.tables.admission import WAITING

if TYPE_CHECKING:
    from collections import Counter

    from numpy.typing import NDArray

    from millstream_core.checkpoint import TableRows
    from millstream_core.erasure.ledger import Ledger
    from millstream_core.features import Transform
    from millstream_core.tables.index import Keys

KINDS: Final = ("rows", "tombstones", "histories", "candidates", "golden")  # of what is taken out
HISTORY: Final = "items"  # the column of a history that names items


class KeyList(NamedTuple):
    """A list of keys beside the dense weights."""

    subject: str  # whose keys
    kind: str  # what is said to be taken out
    beside: tuple[str, ...] = ()  # lists of what lies beside each of its places


LISTS: Final = {
    "candidates.popular": KeyList("item", "candidates"),
    "candidates.new": KeyList("item", "candidates"),
    "newest.items": KeyList("item", "candidates"),
    "popularity.items": KeyList("item", "candidates", ("popularity.weights",)),
    golden.USERS: KeyList("user", "golden", (golden.ITEMS, golden.CLICKS)),
    golden.ITEMS: KeyList("item", "golden", (golden.USERS, golden.CLICKS)),
}


@dataclass(frozen=True)
class Sieve:
    """Takes out what was erased after a version was written."""

    ledger: Ledger
    transform: Transform
    after: int  # entry of the ledger up to which the version's writer knew
    taken: Counter[str] = field(compare=False)  # what was taken out so far, by kind

    def rows(self, table: str, rows: TableRows) -> TableRows:
        """What is left of a table's rows; the same object where nothing has to go.

        Args:
            table: its name, or that of what waits for a row of it, `<table>.<way of admission>`.
            rows: as stored.
        """
        table, _, memory = table.partition(".")
        if memory not in {"", WAITING}:
            return rows
        subject = self.transform.subject_of(table)
        is_erased, is_gone = (self._erased(subject, keys) for keys in (rows.keys, rows.gone))
        left = rows
        if is_erased.any() or is_gone.any():
            self.taken["rows"] += int(np.count_nonzero(is_erased))
            self.taken["tombstones"] += int(np.count_nonzero(is_gone))
            columns = {name: array[~is_erased] for name, array in rows.columns.items()}
            left = replace(
                rows, keys=rows.keys[~is_erased], columns=columns, gone=rows.gone[~is_gone]
            )
        if table == self.transform.history_table and HISTORY in left.columns:
            left = self._without_mentions(left)
        return left

    def dense(self, tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """What is left of dense weights and the lists of keys that lie beside them."""
        left = dict(tensors)
        for name, listed in LISTS.items():
            if name in left and (is_erased := self._erased(listed.subject, left[name])).any():
                self.taken[listed.kind] += int(np.count_nonzero(is_erased))
                for each in (name, *listed.beside):
                    left[each] = left[each][~is_erased]
        return left

    def _without_mentions(self, rows: TableRows) -> TableRows:
        items = rows.columns[HISTORY]
        is_erased = self._erased("item", items.reshape(-1)).reshape(items.shape)
        if not is_erased.any():
            return rows
        self.taken["histories"] += int(np.count_nonzero(is_erased.any(axis=1)))
        cleaned = np.where(is_erased, np.int64(PAD), items)
        return replace(rows, columns=rows.columns | {HISTORY: cleaned})

    def _erased(self, subject: str, keys: Keys) -> NDArray[np.bool_]:
        return self.ledger.erased(subject, np.ascontiguousarray(keys), after=self.after)
