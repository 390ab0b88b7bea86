"""How candidate and stable rank the events that stable learned last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from millstream_core.evaluation import area_under_curve

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_serving.engine.versions import ModelVersion, ScratchPad

ENOUGH: Final = 200  # events below which an area under the curve says too little
TOGETHER: Final = 20  # events scored between rests: a few milliseconds, as one request of a user


class Golden(NamedTuple):
    """How two versions rank stable's golden events."""

    auc: float | None = None  # the candidate's; None: nothing to tell by, or nonfinite
    stable_auc: float | None = None
    nonfinite: int = 0  # scores of the candidate


def rank_golden(
    candidate: ModelVersion, stable: ModelVersion, pad: ScratchPad, rest: Callable[[], None]
) -> Golden:
    """Score stable's golden events on both versions.

    Each version looks the user up in its own histories, and does not see the item in question
    there: an event's own click would give it away.

    Args:
        candidate: the version in question.
        stable: the version that users have, and that the events come with.
        pad: of the calling thread.
        rest: called every few events; paces the comparison, and ends it by raising.
    """
    golden = stable.golden
    if len(golden) < ENOUGH:
        return Golden()
    logits = np.empty((2, len(golden)), np.float32)
    for i, (user, item) in enumerate(
        zip(golden.users.tolist(), golden.items.tolist(), strict=True)
    ):
        for scores, version in zip(logits, (candidate, stable), strict=True):
            scores[i] = _logit(version, user, item, pad)
        if i % TOGETHER == 0:
            rest()
    is_finite = np.isfinite(logits)
    new, old = (
        area_under_curve(scores, golden.clicks) if finite.all() else None
        for scores, finite in zip(logits, is_finite, strict=True)
    )
    return Golden(new, old, nonfinite=int(np.count_nonzero(~is_finite[0])))


def _logit(version: ModelVersion, user: int, item: int, pad: ScratchPad) -> float:
    history = version.history_of(user)
    candidates = np.array([item], np.int64)
    return float(version.logits(user, candidates, history[history != item], pad)[0])
