"""What becomes of a version here, in the trace that its trainer began: load, first answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millstream_core.telemetry.spans import Place, Span, place_of, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_api.manifest import VersionRef
    from millstream_core.telemetry.exporting import SpanExporter
    from millstream_serving.loading.loader import Loaded


class VersionTraces:
    """Told of what the loader holds, and by any lane of answers; tells of each version twice."""

    def __init__(self, exporter: SpanExporter, clock: Callable[[], float]) -> None:
        """Nothing is held yet.

        Args:
            exporter: takes the spans.
            clock: Unix seconds.
        """
        self._exporter = exporter
        self._clock = clock
        # Versions held that have not answered: where their load is, and when it ended.
        self._unanswered: dict[str, tuple[Place, float]] = {}

    def loaded(self, before: Loaded, after: Loaded) -> None:
        """Tell of the versions that are held or refused now and were not before."""
        now = self._clock()
        for digest in after.versions.keys() - before.versions.keys():
            ref = after.versions[digest].ref
            began = now - (after.seconds or 0.0)
            self._unanswered[digest] = (self._load(ref, began, now), now)
        for digest in after.refused.keys() - before.refused.keys():
            self._load(after.refused[digest].ref, now, now, refused=after.refused[digest].reason)
        for digest in list(self._unanswered):  # lanes take them out meanwhile
            if digest not in after.versions:
                self._unanswered.pop(digest, None)

    def answered(self, version: VersionRef, role: str) -> None:
        """Tell of a version's first answer, if this is it."""
        load = self._unanswered.pop(version.digest, None)
        if load is None:
            return
        parent, since = load
        told = {"millstream.version": str(version), "millstream.role": role}
        span = Span("first answer", within(parent), parent, since, self._clock(), told)
        self._exporter.tell(lambda: (span,))

    def _load(self, ref: VersionRef, began: float, ended: float, refused: str = "") -> Place:
        publish = place_of(ref)
        place = within(publish)
        told = {"millstream.version": str(ref), "millstream.lineage": ref.lineage}
        if refused:
            told["millstream.refused"] = refused
        span = Span("load", place, publish, began, ended, told, has_failed=bool(refused))
        self._exporter.tell(lambda: (span,))
        return place
