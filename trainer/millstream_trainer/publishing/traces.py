"""The trace of a version as its trainer sees it: how long each part of publishing took.

Servers go on with it: see millstream_core.telemetry.spans.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from millstream_core.telemetry.spans import Span, place_of, within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millstream_api.manifest import Manifest


def publishing_spans(
    manifest: Manifest, taken_at: float, ends: Sequence[tuple[str, float]]
) -> list[Span]:
    """The span of publishing a version and one for each part of it.

    Args:
        manifest: of the version.
        taken_at: when its state was copied, Unix seconds.
        ends: the parts in order, each with the Unix seconds at which it ended.
    """
    ref = manifest.ref()
    place, start = place_of(ref), taken_at
    told = {
        "millstream.version": str(ref),
        "millstream.lineage": ref.lineage,
        "millstream.kind": manifest.kind,
    }
    spans = [Span("publish", place, None, taken_at, ends[-1][1], told)]
    for part, end in ends:
        spans.append(Span(part, within(place), place, start, end))
        start = end
    return spans
