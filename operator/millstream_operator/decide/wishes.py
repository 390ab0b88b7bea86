"""A person's wish for one version: the annotation of an incident, or the pin of a spec.

The annotation `millstream.dev/rollback-to` wins over `spec.versionPolicy.pin`: it is what one
reaches for when something is wrong now. Either holds until it is taken out; then the newest
version that is not quarantined rolls out again. Going back by annotation says that the version
under trial is bad, so it is quarantined; a pin says nothing of others, so it is only withdrawn.
Versions that have been stable are not quarantined by either: they may be wanted again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from millstream_api import names
from millstream_api.conditions import Reason
from millstream_api.manifest import VersionRef
from millstream_operator.decide.observed import Finding, Published

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millstream_operator.decide.observed import Observed
    from millstream_operator.decide.states import State


LONGEST: Final = 15  # digits of a version number


@dataclass(frozen=True)
class Wish:
    """The version asked for, or why it cannot be had."""

    target: VersionRef | None
    why: Finding
    watermark: float | None = None
    warm: bool = False  # replicas hold it: it can be stable at once
    accuses: bool = False  # the version under trial is taken to be bad


def asked_number(rollback_to: str | None, pin: int | None) -> int | None:
    """The version number asked for, by annotation first; None where none is or it is no number."""
    if rollback_to is None:
        return pin
    is_number = rollback_to.isascii() and rollback_to.isdigit() and len(rollback_to) <= LONGEST
    return int(rollback_to) if is_number else None


def decide_wish(observed: Observed, state: State, pin: int | None) -> Wish | None:
    """What a person asks for; None where nothing is asked.

    Args:
        observed: the RecServing and its world.
        state: of the rollout.
        pin: `spec.versionPolicy.pin`.
    """
    by_annotation = observed.rollback_to is not None
    where = names.ANNOTATION_ROLLBACK_TO if by_annotation else "spec.versionPolicy.pin"
    if not by_annotation and pin is None:
        return None
    number = asked_number(observed.rollback_to, pin)
    known = tuple(_known(observed, state))
    numbers = ", ".join(str(each) for each in sorted({item.ref.version for item in known}))
    there = f"known are {numbers}" if numbers else "none is known yet"
    if number is None:
        return Wish(
            None,
            Finding(
                Reason.UNKNOWN_VERSION,
                f'{where} is "{str(observed.rollback_to)[:40]}": write the number of a version;'
                f" {there}",
            ),
        )
    found = next((item for item in known if item.ref.version == number), None)
    if found is None:
        if observed.store.reachable:
            why = Finding(
                Reason.UNKNOWN_VERSION,
                f"{where} asks for version {number}, which is not there; {there}",
            )
        else:
            why = Finding(
                Reason.STORE_UNREACHABLE,
                f"{where} asks for version {number}, which has to be looked up in the store:"
                f" {observed.store.health.message}",
            )
        return Wish(None, why)
    return _judged(observed, state, found, where, accuses=by_annotation)


def _judged(
    observed: Observed, state: State, found: Published, where: str, *, accuses: bool
) -> Wish:
    ref = found.ref
    if ref.digest in state.release.quarantined:
        return Wish(
            None,
            Finding(
                Reason.QUARANTINED_VERSION,
                f"{where} asks for version {ref.version}, which was taken back; choose another",
            ),
        )
    refusing = [replica for replica in observed.replicas if replica.refuses(ref)]
    if refusing and ref != state.release.stable:
        stand = refusing[0].state_of(ref)
        told = stand.message if stand is not None else ""
        return Wish(
            None,
            Finding(
                Reason.VERSION_REFUSED,
                f"{refusing[0].name} refuses version {ref.version}: {told}",
            ),
        )
    # One that holds it is enough: another that does not goes on with what it has until it does.
    promoted = {entry.digest for entry in state.history}
    warm = ref == state.release.stable or any(each.holds(ref) for each in observed.ready)
    if not observed.answering:
        warm = warm or (ref in state.release.hold and ref.digest in promoted)
    if warm:
        why = Finding(Reason.PINNED, f"version {ref.version} is served, as {where} asks")
    else:
        why = Finding(
            Reason.LOADING,
            f"{where} asks for version {ref.version}, which servers fetch first",
        )
    return Wish(ref, why, watermark=found.watermark, warm=warm, accuses=accuses)


def _known(observed: Observed, state: State) -> Iterator[Published]:
    """Versions that can be named by number; replicas' own first, then what the store has."""
    release = state.release
    marks = {
        entry.digest: entry.watermark.timestamp() if entry.watermark else None
        for entry in state.history
    }
    if release.candidate is not None and state.rollout is not None and state.rollout.watermark:
        marks[release.candidate.digest] = state.rollout.watermark.timestamp()
    for ref in release.wanted():
        yield Published(ref, "", "", marks.get(ref.digest))
    for entry in state.history:
        ref = VersionRef(lineage=entry.lineage, version=entry.version, digest=entry.digest)
        yield Published(ref, "", "", marks[entry.digest])
    if observed.store.asked is not None:
        yield observed.store.asked
