"""Recommendations that a version has given, for users who ask again before the next one comes.

A version never changes, so what it has recommended once it would recommend again: an answer is
kept with the version that gave it, and goes with it. It is never another version's, nor that of
the same version before a key was erased, which makes another object of it.

Rankings of a caller's own items are not kept: they hardly come twice.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Hashable

    from millstream_serving.engine.versions import ModelVersion
    from millstream_serving.ranking.answers import Outcome, Query

MOST: Final = 10_000  # answers of a version
LONGEST: Final = 50  # ids in one: a few pages


class Remembered:
    """Any thread may call."""

    def __init__(self, most: int = MOST) -> None:
        """Remember nothing.

        Args:
            most: answers of a version; those not asked for longest make room.
        """
        self.hits = 0
        self.misses = 0
        self._most = most
        self._lock = Lock()
        self._answers: WeakKeyDictionary[ModelVersion, OrderedDict[Hashable, Outcome]] = (
            WeakKeyDictionary()
        )

    def find(self, version: ModelVersion, query: Query) -> Outcome | None:
        """What this version has answered to this query."""
        key = _key(query)
        if key is None:
            return None
        with self._lock:
            answers = self._answers.get(version)
            found = None if answers is None else answers.get(key)
            if answers is None or found is None:
                self.misses += 1
                return None
            self.hits += 1
            answers.move_to_end(key)
            return found

    def keep(self, version: ModelVersion, query: Query, outcome: Outcome) -> None:
        """Note what this version has answered to this query."""
        key = _key(query)
        if key is None or outcome.version != version.ref or not 0 < len(outcome.ids) <= LONGEST:
            return
        with self._lock:
            answers = self._answers.setdefault(version, OrderedDict())
            answers[key] = outcome
            if len(answers) > self._most:
                answers.popitem(last=False)


def _key(query: Query) -> Hashable | None:
    """All that a recommendation depends on besides the version; None: the caller brings more."""
    if query.items is not None or query.history is not None:
        return None
    return query.user_id, query.k, frozenset(query.context.items())
