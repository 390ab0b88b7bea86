"""The features of a model, ready to run: contexts in, keys and floats out, many at once.

Trainer and server hold one of these, made from the same document, and call `encode`: the one with
the contexts of a batch, the other with the context of a request. There is no second way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import xxhash

from millstream_core.features.checks import refuse_senseless
from millstream_core.features.context import text_of
from millstream_core.features.plan import MISSING, plan_of, reading_numbers, reading_rows, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from millstream_api.features import FeatureSpec, HashFeature, VocabularyFeature
    from millstream_core.features.context import Context, Value

UNKNOWN: Final = 1  # the code of a value that a vocabulary does not list


@dataclass(frozen=True)
class Encoded:
    """Contexts as a network reads them; n contexts."""

    keys: NDArray[np.int64]  # [n, R] of rows of the table `context`
    floats: NDArray[np.float32]  # [n, F]


class ContextFeatures:
    """Encodes contexts; may be shared between threads."""

    def __init__(self, features: Sequence[FeatureSpec]) -> None:
        """Prepare these features.

        Raises:
            ValueError: the list makes no sense; the message says what to change.
        """
        refuse_senseless(features)
        reading = reading_rows(features)
        self.names = frozenset(one.name for one in features if one.cross is None)
        self.rows = len(reading)  # R
        self._texts = [
            (place, one.name, code) for place, one in enumerate(reading) if (code := _code(one))
        ]
        self._numbers = [name for name, _ in reading_numbers(features)]
        self._plan, self.floats = plan_of(features)

    def encode(self, contexts: Sequence[Context]) -> Encoded:
        """Keys and floats of contexts that `read_context` has read.

        A text where a feature wants a number reads as no value; a number where a feature wants a
        text reads as its decimal form.
        """
        count = len(contexts)
        codes = np.empty((count, self.rows), np.int64)
        for column, name, code in self._texts:
            codes[:, column] = [code(context.get(name)) for context in contexts]
        numbers = np.empty((count, len(self._numbers)), np.float64)
        for column, name in enumerate(self._numbers):
            numbers[:, column] = [_number(context.get(name)) for context in contexts]
        floats = np.zeros((count, self.floats), np.float32)
        run(self._plan, codes, numbers, floats)
        return Encoded(codes, floats)


def _number(value: Value | None) -> float:
    return math.nan if value is None or isinstance(value, str) else float(value)


def _code(feature: FeatureSpec) -> Callable[[Value | None], int] | None:
    """The code of a value; None for kinds whose codes the plan computes."""
    if feature.hash is not None:
        return _hashed(feature.hash)
    if feature.vocabulary is not None:
        return _listed(feature.vocabulary)
    return None


def _hashed(feature: HashFeature) -> Callable[[Value | None], int]:
    def code(value: Value | None) -> int:
        value = feature.missing if value is None else value
        if value is None:
            return MISSING
        # Half of an emoji is text to JavaScript; whatever it is, it is the same on both sides.
        data = text_of(value).encode(errors="surrogatepass")
        return 1 + int(xxhash.xxh64_intdigest(data, feature.seed)) % feature.buckets

    return code


def _listed(feature: VocabularyFeature) -> Callable[[Value | None], int]:
    codes = {value: UNKNOWN + 1 + place for place, value in enumerate(feature.values)}

    def code(value: Value | None) -> int:
        value = feature.missing if value is None else value
        return MISSING if value is None else codes.get(text_of(value), UNKNOWN)

    return code
