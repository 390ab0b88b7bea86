"""What may be wrong with a list of features, as small checks; the first finding counts.

The API server refuses the same by the rules beside the fields (`millstream_api.features`). But a
server reads the list from a document that anybody may have written, and a trainer from a file.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from millstream_api.features import MOST_FEATURES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from millstream_api.features import FeatureSpec


def _too_many(features: Sequence[FeatureSpec]) -> str | None:
    if len(features) > MOST_FEATURES:
        return f"there are {len(features)} features: name at most {MOST_FEATURES}"
    return None


def _same_name(features: Sequence[FeatureSpec]) -> str | None:
    names = [feature.name for feature in features]
    for name in names:
        if names.count(name) > 1:
            return f"two features are named {name}: give each its own name"
    return None


def _not_one_kind(features: Sequence[FeatureSpec]) -> str | None:
    for one in features:
        kinds = (one.hash, one.vocabulary, one.bucket, one.normalise, one.cross)
        if sum(kind is not None for kind in kinds) != 1:
            return (
                f"feature {one.name} must have exactly one kind: hash, vocabulary, bucket, "
                "normalise or cross"
            )
    return None


def _bad_vocabulary(features: Sequence[FeatureSpec]) -> str | None:
    for one in features:
        if one.vocabulary is None:
            continue
        values, missing = one.vocabulary.values, one.vocabulary.missing
        if not values or len(set(values)) != len(values):
            return f"feature {one.name} must list values, each once"
        if missing is not None and missing not in values:
            return f"feature {one.name} must list {missing!r}, its value for missing ones"
    return None


def _bad_boundaries(features: Sequence[FeatureSpec]) -> str | None:
    for one in features:
        if one.bucket is None:
            continue
        boundaries = one.bucket.boundaries
        if not boundaries or any(low >= high for low, high in pairwise(boundaries)):
            return f"feature {one.name} must list boundaries that rise"
    return None


def _bad_scale(features: Sequence[FeatureSpec]) -> str | None:
    for one in features:
        scale = one.normalise
        if scale is None:
            continue
        given = [each is not None for each in (scale.mean, scale.std, scale.min, scale.max)]
        if given not in ([True, True, False, False], [False, False, True, True]):
            return f"feature {one.name} must have either mean and std or min and max"
        if scale.std is not None and not scale.std > 0:
            return f"feature {one.name} must have a std above 0"
        if scale.min is not None and scale.max is not None and not scale.min < scale.max:
            return f"feature {one.name} must have a min below its max"
    return None


def _bad_cross(features: Sequence[FeatureSpec]) -> str | None:
    known = {each.name: each for each in features}
    for one in features:
        if one.cross is None:
            continue
        if len(set(one.cross.of)) != len(one.cross.of):
            return f"feature {one.name} must name each of its parts once"
        for name in one.cross.of:
            part = known.get(name)
            if part is None:
                return f"feature {one.name} is made of {name}, which is not there: add it"
            if part.cross is not None or part.normalise is not None:
                return (
                    f"feature {one.name} cannot be made of {name}: parts of a cross are of the "
                    "kinds hash, vocabulary and bucket"
                )
    return None


# That there is one kind comes before what the kinds say.
CHECKS: Final[tuple[Callable[[Sequence[FeatureSpec]], str | None], ...]] = (
    _too_many,
    _same_name,
    _not_one_kind,
    _bad_vocabulary,
    _bad_boundaries,
    _bad_scale,
    _bad_cross,
)


def refuse_senseless(features: Sequence[FeatureSpec]) -> None:
    """Raise ValueError with the first finding about a list of features."""
    for check in CHECKS:
        finding = check(features)
        if finding is not None:
            raise ValueError(finding)
