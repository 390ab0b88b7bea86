"""A version set aside at the start, asked later what it would have answered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from millstream_core.features import key_of
from millstream_serving.engine.versions import ScratchPad
from millstream_serving.loading.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from demo.answers import Question
    from millstream_api.manifest import VersionRef
    from millstream_core.store import ModelStore


def frozen_scores(
    store: ModelStore, ref: VersionRef, questions: Sequence[Question]
) -> NDArray[np.float64]:
    """Score events with one version, by the server's own engine.

    Args:
        store: of the model.
        ref: the version.
        questions: of kind rank.

    Returns:
        float64[n], probabilities.
    """
    with ThreadPoolExecutor(8) as pool:
        shelf = Shelf(store, pool)
        shelf.load(ref, lambda digest: digest == ref.digest, lambda _: None)
    version, pad = shelf.held[ref.digest], ScratchPad()
    logits = [
        version.logits(
            key_of(question.user),
            np.array([question.item], np.int64),
            np.array(question.history, np.int64),
            pad,
            question.context,
        )[0]
        for question in questions
    ]
    return np.asarray(1 / (1 + np.exp(-np.array(logits, np.float64))))
