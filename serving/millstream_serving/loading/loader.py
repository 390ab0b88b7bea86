"""The loading thread: brings what the release wants into memory, and lets the rest go.

    wanted ──► held? refused? ── neither ──► load ──► Ready | Refused (remembered, not retried)
       ▲                                       │
       └────── pause, longer each time ◄───────┘ the store does not answer

It waits in one place only, and a changed wish wakes it there. Versions that are held go on
answering whatever happens here (see `pace`).
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from millstream_api.reports import StoreHealth, VersionState
from millstream_core.erasure.entries import read_ledger
from millstream_core.store import AccessDenied, IntegrityError, StoreError
from millstream_serving.loading.checks import Finding, Refused, Unsettled
from millstream_serving.loading.pace import give_way
from millstream_serving.loading.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from millstream_api.manifest import VersionRef
    from millstream_api.names import Precision
    from millstream_core.store import ModelStore
    from millstream_serving.engine.versions import ModelVersion

log = logging.getLogger(__name__)

FETCHES_AT_ONCE: Final = 8
REFUSALS_KEPT: Final = 256
LONGEST_MESSAGE: Final = 1000  # of a refusal: it may quote what a hostile manifest says
PAUSES_SECONDS: Final = (0.25, 10.0)  # the first, and the longest, between two tries
LOOK_AT_STORE_SECONDS: Final = 15.0  # how late an erasure or trouble is learned of when idle


@dataclass(frozen=True)
class Loaded:
    """What the loading thread tells: all it holds and knows, as one value."""

    versions: dict[str, ModelVersion]  # by digest, able to answer
    refused: dict[str, VersionState]  # by digest
    store: StoreHealth
    bytes: int = 0
    erasure_seq: int = 0  # of the ledger: no version answers for keys erased up to it
    seconds: float | None = None  # how long the load that led to this one took
    troubles: dict[str, Finding] = field(default_factory=dict)  # by digest, to be tried again

    def state(self, ref: VersionRef) -> VersionState:
        """How it stands with one version."""
        if ref.digest in self.versions:
            precision = self.versions[ref.digest].precision
            return VersionState(ref=ref, state="Ready", precision=precision)
        if ref.digest in self.refused:
            return self.refused[ref.digest]
        if ref.digest in self.troubles:
            trouble = self.troubles[ref.digest]
            return VersionState(
                ref=ref, state="Loading", reason=trouble.reason, message=trouble.message
            )
        return VersionState(ref=ref, state="Loading")


NOTHING_LOADED = Loaded({}, {}, StoreHealth(ok=True, reason="NotAsked"))


class Loader:
    """Start it, tell it what is wanted, and be told what there is."""

    def __init__(
        self,
        store: ModelStore,
        tell: Callable[[Loaded], None],
        stopwatch: Callable[[], float],
        has_users: Callable[[], bool],
        pauses: tuple[float, float] = PAUSES_SECONDS,
        looks: float = LOOK_AT_STORE_SECONDS,
        precision: Precision = "Float32",
    ) -> None:
        """Nothing runs yet.

        Args:
            store: where versions come from.
            tell: called on the loading thread after every change.
            stopwatch: seconds of a clock that never jumps.
            has_users: whether this replica is asked for answers; called on the loading thread.
            pauses: seconds before the second try, and at most.
            looks: seconds between two looks at the store while nothing is to be loaded.
            precision: in which versions are to answer, where they can.
        """
        self._looks = looks
        self._precision = precision
        self._first_pause, self._longest_pause = pauses
        self._store = store
        self._tell = tell
        self._stopwatch = stopwatch
        self._pool = ThreadPoolExecutor(FETCHES_AT_ONCE, thread_name_prefix="fetch")
        self._shelf = Shelf(store, self._pool, has_users)
        self._wanted: tuple[VersionRef, ...] = ()
        self._changed = threading.Condition()
        self._generation = 0
        self._is_stopping = False
        self._refused: OrderedDict[str, VersionState] = OrderedDict()
        self._health = NOTHING_LOADED.store
        self._troubles: dict[str, Finding] = {}
        self._thread = threading.Thread(target=self._run, name="loading", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; a fetch that is under way ends by its own time-out."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def want(self, versions: Iterable[VersionRef]) -> None:
        """Hold these versions, in order of need, and no others. Any thread may say so."""
        wanted = tuple(versions)
        with self._changed:
            if wanted != self._wanted:
                self._wanted = wanted
                self._generation += 1
                self._changed.notify()

    def _run(self) -> None:
        give_way()
        pause = self._first_pause
        while not self._is_stopping:
            seen = self._generation
            try:
                complete = self._bring_in(self._wanted)
                self._reduce(seen)
            except Exception:
                # A fault of this program: say so and try again, for held versions go on serving.
                log.exception("loading failed in an unforeseen way")
                complete = False
            with self._changed:
                self._changed.wait_for(
                    lambda seen=seen: self._is_stopping or self._generation != seen,  # type: ignore[misc]
                    timeout=self._looks if complete else pause,
                )
            pause = self._first_pause if complete else min(2 * pause, self._longest_pause)

    def _bring_in(self, wanted: tuple[VersionRef, ...]) -> bool:
        """Load what is missing; False where something has to be tried again."""
        self._shelf.drop_all_but({ref.digest for ref in wanted})
        self._announce()
        missing = [
            ref
            for ref in wanted
            if ref.digest not in self._shelf.held and ref.digest not in self._refused
        ]
        self._troubles = {}
        try:
            self._learn_of_erasures()
            for ref in missing:
                if ref.digest not in self._shelf.held and self._is_wanted(ref.digest):
                    self._load(ref)
        except IntegrityError as error:
            # The store answers; but what was erased is not known, and must not come back.
            log.warning("no version is loaded: %s", error)
            self._troubles |= {ref.digest: Finding(error.reason, str(error)) for ref in missing}
        except StoreError as error:
            reason = "AccessDenied" if isinstance(error, AccessDenied) else "Unreachable"
            if self._health.ok:
                log.warning("the model store fails: %s", error)
            self._health = StoreHealth(ok=False, reason=reason, message=str(error))
            self._troubles |= {ref.digest: Finding(reason, str(error)) for ref in missing}
            self._announce()
            return False
        except Exception as fault:
            self._troubles |= {ref.digest: _fault(fault) for ref in missing}
            self._announce()
            raise
        self._health = StoreHealth(ok=True, reason="Reachable")
        self._announce()
        return not self._troubles

    def _reduce(self, generation: int) -> None:
        """Have versions that answer already do so in less time, until others are wanted."""
        if self._precision == "Float32":
            return
        while self._generation == generation and self._shelf.reduce():
            self._announce()

    def _learn_of_erasures(self) -> None:
        ledger = read_ledger(self._store, self._shelf.ledger)
        if ledger is not self._shelf.ledger:
            self._shelf.forget(ledger)
            log.info("no version answers for keys erased up to entry %d", ledger.seq)
            self._announce()

    def _load(self, ref: VersionRef) -> None:
        start = self._stopwatch()

        def loaded(_: ModelVersion) -> None:
            self._announce(self._stopwatch() - start)

        try:
            self._shelf.load(ref, self._is_wanted, loaded, self._wanted)
        except Refused as refusal:
            said = str(refusal)[:LONGEST_MESSAGE]
            log.warning(
                "version %d is refused: %s: %s", ref.version, refusal.reason, said, extra=_of(ref)
            )
            self._refused[ref.digest] = VersionState(
                ref=ref,
                state="Refused",
                reason=refusal.reason,
                message=said,
            )
            while len(self._refused) > REFUSALS_KEPT:
                self._refused.popitem(last=False)
            self._announce()
        except Unsettled as why:
            log.warning(
                "version %d waits for an erasure to be finished: %s",
                ref.version,
                why,
                extra=_of(ref),
            )
            self._troubles[ref.digest] = Finding("ErasureUnfinished", str(why)[:LONGEST_MESSAGE])
        except StoreError:
            raise
        except Exception as fault:
            # Ours, and perhaps of this version only: the others must not wait for it.
            log.exception("version %d could not be loaded", ref.version, extra=_of(ref))
            self._troubles[ref.digest] = _fault(fault)

    def _is_wanted(self, digest: str) -> bool:
        return any(ref.digest == digest for ref in self._wanted)

    def _announce(self, seconds: float | None = None) -> None:
        self._tell(
            Loaded(
                versions=dict(self._shelf.held),
                refused=dict(self._refused),
                store=self._health,
                bytes=self._shelf.bytes,
                erasure_seq=self._shelf.ledger.seq,
                seconds=seconds,
                troubles=dict(self._troubles),
            )
        )


def _of(ref: VersionRef) -> dict[str, int]:
    """What a log line says besides its message."""
    return {"version": ref.version}


def _fault(fault: Exception) -> Finding:
    return Finding("Internal", f"{type(fault).__name__}: {fault}")
