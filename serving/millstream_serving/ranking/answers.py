"""Answering a query with a version: the work of a scoring thread, free of HTTP and of state."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from millstream_core.features import PAD, key_of
from millstream_serving.engine.best import best_of
from millstream_serving.ranking.marks import MarkedPad

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from millstream_api.manifest import VersionRef
    from millstream_core.features import Context
    from millstream_serving.engine.best import Best
    from millstream_serving.engine.versions import ModelVersion, ScratchPad
    from millstream_serving.features.store import FeatureStore
    from millstream_serving.ranking.marks import Marks

Id = int | str


class IdOutOfRange(Exception):  # noqa: N818 - named for what is wrong
    """An id in a query has no key; the message says what to send instead."""


@dataclass(frozen=True)
class Query:
    """Somebody wants a ranking."""

    user_id: Id | None
    items: tuple[Id, ...] | None  # None: the version proposes
    history: tuple[Id, ...] | None = None  # None: what the feature store knows
    k: int | None = None  # None: all of them
    context: Context = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """A query in the keys of the tables: what is scored, and what the shadow replays."""

    user: int | None
    items: NDArray[np.int64]
    history: NDArray[np.int64]
    # As it came: each version makes of it what its own features say.
    context: Context = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """An answer, or why there is none."""

    version: VersionRef  # that answered, or should have
    ids: list[Id]  # best first; empty where there is no best
    best: Best | None  # of the candidates; None: no finite answer could be given
    nonfinite: tuple[tuple[VersionRef, int], ...]  # versions that failed, and how many scores
    asked: Asked
    ignored: tuple[str, ...] = ()  # values in the context that the version has no feature for


def answer(
    query: Query,
    versions: Sequence[ModelVersion],
    features: FeatureStore,
    popular: int,
    pad: ScratchPad,
    marks: Marks | None = None,
) -> Outcome:
    """Rank with the first version whose scores are all finite.

    Args:
        query: what is asked.
        versions: the one this user gets, then those to fall back on; not empty.
        features: of users.
        popular: how many popular items a version proposes.
        pad: of the calling thread.
        marks: where a trace was asked for.

    Raises:
        IdOutOfRange: an id in the query has no key.
    """
    if marks is not None:
        marks.mark("wait")
        pad = MarkedPad(pad, marks)
    nonfinite: list[tuple[VersionRef, int]] = []
    for version in versions:
        asked, ids = _look_up(query, version, features, popular)
        if marks is not None:
            marks.mark("features")
        logits = version.logits(asked.user, asked.items, asked.history, pad, query.context)
        if marks is not None:
            marks.mark("score")
        best = best_of(logits, query.k)
        if isinstance(best, int):
            nonfinite.append((version.ref, best))
            continue
        return Outcome(
            version=version.ref,
            ids=[ids[place] for place in best.places],
            best=best,
            nonfinite=tuple(nonfinite),
            asked=asked,
            ignored=tuple(sorted(query.context.keys() - version.features.names)),
        )
    return Outcome(versions[-1].ref, [], None, tuple(nonfinite), asked)


def _look_up(
    query: Query, version: ModelVersion, features: FeatureStore, popular: int
) -> tuple[Asked, Sequence[Id]]:
    user = None if query.user_id is None else _key_of(query.user_id)
    if query.history is not None:
        history = keys_of(query.history)
    elif user is not None:
        history = features.history(version, user)
    else:
        history = np.empty(0, np.int64)
    if query.items is not None:
        return Asked(user, keys_of(query.items), history, query.context), query.items
    items = proposals(version, history, popular)
    return Asked(user, items, history, query.context), items.tolist()


def keys_of(ids: Sequence[Id]) -> NDArray[np.int64]:
    """The keys of these ids, int64[n]; raises IdOutOfRange."""
    if {int}.issuperset(map(type, ids)) and PAD not in ids:  # less than half the time
        with suppress(OverflowError):
            return np.array(ids, np.int64)
    return np.fromiter((_key_of(each) for each in ids), np.int64, len(ids))


def _key_of(given: Id) -> int:
    try:
        return key_of(given)
    except ValueError as error:
        raise IdOutOfRange(str(error)) from error


def proposals(version: ModelVersion, history: NDArray[np.int64], popular: int) -> NDArray[np.int64]:
    """The popular and the new items of a version without those the user has seen.

    Somebody who has seen all of them gets them again: an empty list helps nobody.
    """
    both = np.concatenate([version.popular[:popular], version.newest])
    _, first = np.unique(both, return_index=True)
    items = both[np.sort(first)]
    unseen = items[~np.isin(items, history)]
    return unseen if len(unseen) else items
