"""Candidate against stable on the same queries, before any user sees the candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from millstream_api.reports import Shadow
from millstream_serving.engine.versions import ScratchPad
from millstream_serving.ranking.answers import Asked, proposals
from millstream_serving.ranking.differences import calibration, correlation, drift, mean_shift
from millstream_serving.ranking.golden import rank_golden

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from millstream_serving.engine.versions import ModelVersion

ENOUGH: Final = 20  # queries below which made-up ones are added


def compare(
    candidate: ModelVersion,
    stable: ModelVersion,
    queries: Sequence[Asked],
    rest: Callable[[], None],
) -> Shadow:
    """Score every query on both versions.

    Args:
        candidate: the version in question.
        stable: the version that users have.
        queries: what to score; the same for both.
        rest: called after each query; paces the comparison, and ends it by raising.
    """
    pad = ScratchPad()
    correlations: list[float] = []
    ours: list[NDArray[np.float64]] = []
    theirs: list[NDArray[np.float64]] = []
    scores = nonfinite = keys = unknown = unknown_to_stable = 0
    for query in queries:
        new = candidate.logits(query.user, query.items, query.history, pad, query.context)
        old = stable.logits(query.user, query.items, query.history, pad, query.context)
        is_usable = np.isfinite(new)
        scores += len(new)
        nonfinite += len(new) - int(np.count_nonzero(is_usable))
        is_usable &= np.isfinite(old)
        ours.append(new[is_usable].astype(np.float64))
        theirs.append(old[is_usable].astype(np.float64))
        agreement = correlation(ours[-1], theirs[-1])
        if agreement is not None:
            correlations.append(agreement)
        keys += len(query.items) + len(query.history) + (query.user is not None)
        unknown += _keys_without_row(candidate, query)
        unknown_to_stable += _keys_without_row(stable, query)
        rest()
    golden = rank_golden(candidate, stable, pad, rest)
    nothing = np.empty(0)
    all_new, all_old = np.concatenate([*ours, nothing]), np.concatenate([*theirs, nothing])
    return Shadow(
        candidate=candidate.ref.digest,
        stable=stable.ref.digest,
        requests=len(queries),
        scores=scores,
        nonfinite=nonfinite + golden.nonfinite,
        correlation=float(np.mean(correlations)) if correlations else None,
        mean_shift=mean_shift(all_new, all_old),
        drift=drift(all_new, all_old),
        calibration=calibration(all_new, all_old),
        default_ratio=unknown / keys if keys else None,
        stable_default_ratio=unknown_to_stable / keys if keys else None,
        golden_auc=golden.auc,
        stable_golden_auc=golden.stable_auc,
    )


def _keys_without_row(version: ModelVersion, query: Asked) -> int:
    """How many of the keys that a query looks up read as the default row."""
    users = np.array([] if query.user is None else [query.user], np.int64)
    items = np.concatenate([query.items, query.history])
    return sum(
        int(np.count_nonzero(version.tables[name].slots(keys) < 0))
        for name, keys in (("user", users), ("item", items))
    )


def enough_queries(recorded: Sequence[Asked], stable: ModelVersion, popular: int) -> list[Asked]:
    """The recorded queries, and where they are few, more from what stable knows.

    Made-up ones are deterministic: the first users of its history table, with the items that it
    would propose to them.
    """
    queries = list(recorded)
    lacking = max(0, ENOUGH - len(queries))
    if not lacking:
        return queries
    users = _first_keys(stable, "history", lacking)
    for i in range(lacking):
        user = int(users[i % len(users)]) if len(users) else None
        history = stable.history_of(user) if user is not None else np.empty(0, np.int64)
        items = proposals(stable, history, popular)
        if not len(items):
            items = _first_keys(stable, "item", max(popular, 2))
        queries.append(Asked(user, items, history))
    return queries


def _first_keys(version: ModelVersion, table: str, count: int) -> NDArray[np.int64]:
    """Some keys that have a row in this version, int64[<= count]."""
    rows = version.tables[table]
    keys = rows.index.keys()[: 64 * count]
    return keys[rows.slots(keys) >= 0][:count]
