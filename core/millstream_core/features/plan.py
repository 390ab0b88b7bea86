"""A list of features laid out in arrays, and the kernel that runs over them.

    codes of texts ─┐                            ┌─► keys, a row of the table `context` each
    numbers ────────┴─ intervals, crosses, scale ┴─► floats

Nothing here depends on the machine: a key that one processor computes and another does not would
be skew that nobody sees. So the logarithm is written out below; those of C libraries and of numpy
may differ in the last bit between processors.

Letters: n records, R features that read a row, N numbers, F floats.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from millstream_api.features import MOST_PARTS
from millstream_core.tables.hashing import GOLDEN, mix

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from millstream_api.features import BucketFeature, FeatureSpec, NormaliseFeature

MISSING: Final = 0  # the code of no value; codes of values begin at 1
FARTHEST: Final = 10.0  # standard deviations from the mean
_CODE_BITS: Final = np.int64(32)
_LN2: Final = math.log(2.0)
_HALF_ROOT: Final = math.sqrt(0.5)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Plan(NamedTuple):
    """What the kernel does; columns of codes and numbers are those of the features in order."""

    default: Floats  # [N] read where a number is missing; NaN: nothing is
    bucket_column: Ints  # [B] of codes
    bucket_number: Ints  # [B] column of numbers
    edge_start: Ints  # [B + 1] into edges
    edges: Floats  # boundaries of all buckets
    cross_column: Ints  # [X] of codes
    cross_parts: Ints  # [X, 4] columns of codes; negative: none
    cross_seed: NDArray[np.uint64]  # [X]
    cross_buckets: NDArray[np.uint64]  # [X]
    scale_number: Ints  # [S] column of numbers
    scale_float: Ints  # [S] column of floats
    scale_flag: Ints  # [S] column of floats that is 1 where there is no number; negative: none
    scale_log: NDArray[np.bool_]  # [S]
    center: Floats  # [S] subtracted
    spread: Floats  # [S] divided by
    low: Floats  # [S] smallest float
    high: Floats  # [S] largest float


def reading_rows(features: Sequence[FeatureSpec]) -> list[FeatureSpec]:
    """The features that read a row, one for each column of codes."""
    return [one for one in features if one.normalise is None]


def reading_numbers(
    features: Sequence[FeatureSpec],
) -> list[tuple[str, BucketFeature | NormaliseFeature]]:
    """The features that take a number, by name, one for each column of numbers."""
    return [(one.name, kind) for one in features if (kind := one.bucket or one.normalise)]


def plan_of(features: Sequence[FeatureSpec]) -> tuple[Plan, int]:
    """The plan of a list of features that makes sense, and how many floats it fills."""
    column = {one.name: place for place, one in enumerate(reading_rows(features))}
    number = {name: place for place, (name, _) in enumerate(reading_numbers(features))}
    defaults = [kind.missing for _, kind in reading_numbers(features)]
    buckets = [(one.name, one.bucket) for one in features if one.bucket]
    crosses = [(one.name, one.cross) for one in features if one.cross]
    scales = [(one.name, one.normalise) for one in features if one.normalise]
    has_flag = [scale.missing is None for _, scale in scales]
    first = np.cumsum([0, *(1 + flag for flag in has_flag)])
    measures = np.array([_measures(scale) for _, scale in scales]).reshape(-1, 4)
    parts = [[column[part] for part in cross.of] for _, cross in crosses]
    plan = Plan(
        default=np.array([math.nan if each is None else each for each in defaults], np.float64),
        bucket_column=_ints(column[name] for name, _ in buckets),
        bucket_number=_ints(number[name] for name, _ in buckets),
        edge_start=np.cumsum(
            [0, *(len(bucket.boundaries) for _, bucket in buckets)], dtype=np.int64
        ),
        edges=np.array([edge for _, bucket in buckets for edge in bucket.boundaries], np.float64),
        cross_column=_ints(column[name] for name, _ in crosses),
        cross_parts=np.array(
            [each + [-1] * (MOST_PARTS - len(each)) for each in parts], np.int64
        ).reshape(-1, MOST_PARTS),
        cross_seed=np.array([cross.seed for _, cross in crosses], np.uint64),
        cross_buckets=np.array([cross.buckets for _, cross in crosses], np.uint64),
        scale_number=_ints(number[name] for name, _ in scales),
        scale_float=first[:-1].astype(np.int64),
        scale_flag=np.where(has_flag, first[:-1] + 1, -1).astype(np.int64),
        scale_log=np.array([scale.log for _, scale in scales], np.bool_),
        center=np.ascontiguousarray(measures[:, 0]),
        spread=np.ascontiguousarray(measures[:, 1]),
        low=np.ascontiguousarray(measures[:, 2]),
        high=np.ascontiguousarray(measures[:, 3]),
    )
    return plan, int(first[-1])


def _measures(scale: NormaliseFeature) -> tuple[float, float, float, float]:
    """Center, spread, smallest and largest result."""
    if scale.mean is not None and scale.std is not None:
        return scale.mean, scale.std, -FARTHEST, FARTHEST
    assert scale.min is not None
    assert scale.max is not None
    return scale.min, scale.max - scale.min, 0.0, 1.0


def _ints(values: Iterable[int]) -> Ints:
    return np.fromiter(values, np.int64)


@njit(cache=True, nogil=True, error_model="numpy")
def log1p(value: float) -> float:
    """ln(1 + value) of a value >= 0, to 1e-15, with operations that are exact everywhere.

    1 + value is m · 2^e with m in [√½, √2), and ln m = 2 artanh(s) with s = (m − 1) / (m + 1),
    whose series ends below double precision after the tenth term, |s| being below 0.172.
    """
    mantissa, exponent = math.frexp(1.0 + value)
    if mantissa < _HALF_ROOT:
        mantissa *= 2.0
        exponent -= 1
    s = (mantissa - 1.0) / (mantissa + 1.0)
    square = s * s
    series = 0.0
    for odd in range(21, 0, -2):
        series = series * square + 1.0 / odd
    return exponent * _LN2 + 2.0 * s * series


@njit(cache=True, nogil=True, error_model="numpy")
def run(
    plan: Plan,
    codes: NDArray[np.int64],
    numbers: NDArray[np.float64],
    floats: NDArray[np.float32],
) -> None:
    """Turn codes into keys, in place, and numbers into floats.

    Args:
        plan: of the features.
        codes: int64[n, R], those of texts filled in; becomes keys: the column above 32 bits of
            the code, so that no two features share a row.
        numbers: float64[n, N], NaN where there is none; defaults are filled in.
        floats: float32[n, F], zeros; written.
    """
    for record in range(len(codes)):
        for i in range(len(plan.default)):
            if np.isnan(numbers[record, i]):
                numbers[record, i] = plan.default[i]
        for i in range(len(plan.bucket_column)):
            value = numbers[record, plan.bucket_number[i]]
            code = np.int64(MISSING)
            if not np.isnan(value):
                below, above = plan.edge_start[i], plan.edge_start[i + 1]
                while below < above:
                    middle = (below + above) // 2
                    if plan.edges[middle] <= value:
                        below = middle + 1
                    else:
                        above = middle
                code = 1 + below - plan.edge_start[i]
            codes[record, plan.bucket_column[i]] = code
        for i in range(len(plan.cross_column)):
            mixed = mix(plan.cross_seed[i] + GOLDEN)
            for part in plan.cross_parts[i]:
                if part >= 0:
                    mixed = mix(mixed + GOLDEN + np.uint64(codes[record, part]))
            code = np.int64(mixed % plan.cross_buckets[i])
            codes[record, plan.cross_column[i]] = 1 + code
        for column in range(codes.shape[1]):
            codes[record, column] |= np.int64(column) << _CODE_BITS
        for i in range(len(plan.scale_number)):
            value = numbers[record, plan.scale_number[i]]
            if np.isnan(value):
                floats[record, plan.scale_flag[i]] = 1.0
                continue
            if plan.scale_log[i]:
                value = log1p(max(value, 0.0))
            scaled = (value - plan.center[i]) / plan.spread[i]
            scaled = min(max(scaled, plan.low[i]), plan.high[i])
            floats[record, plan.scale_float[i]] = np.float32(scaled)
