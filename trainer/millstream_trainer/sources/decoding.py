"""From records to columns: what is malformed is counted by reason and left out, never fatal.

A stream is written by other people's programs. Batches are decoded column by column, because
nearly all are clean; only a batch with something wrong in it is looked at record by record.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from millstream_api.manifest import CLICK
from millstream_core.features import PAD, BadContext, ContextFeatures, key_of, read_context

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from millstream_api.manifest import Task
    from millstream_core.features import Context, Encoded

# Event times outside are mistakes of unit (milliseconds, days) or broken clocks.
EARLIEST: Final = 0.0  # 1970
LATEST: Final = 4_102_444_800.0  # 2100
LONGEST_ID: Final = 1024  # characters
NO_FEATURES: Final = ContextFeatures(())


@dataclass(frozen=True)
class EventBatch:
    """Events ready to learn from, in stream order."""

    user: NDArray[np.int64]  # [n] keys
    item: NDArray[np.int64]  # [n] keys
    label: NDArray[np.float32]  # [n] 0 or 1
    time: NDArray[np.float64]  # [n] Unix seconds
    rejected: Counter[str] = field(default_factory=Counter)  # malformed records by reason
    context: Encoded | None = None  # for models with features
    conversion: NDArray[np.float32] | None = None  # [n] 0 or 1, for models that learn them

    def __len__(self) -> int:
        return len(self.user)


class _Malformed(Exception):  # noqa: N818 - never leaves this module
    """Carries the reason, a CamelCase word fit for a metric label."""


def decode(
    records: Sequence[Mapping[str, Any]],
    features: ContextFeatures = NO_FEATURES,
    tasks: Sequence[Task] = CLICK,
) -> EventBatch:
    """Columns of all well-formed records, and the others counted by reason.

    Of a context only what the features read is looked at, and a conversion only where it is a task.

    Reasons: NotAnObject, MissingField, WrongType, IdOutOfRange, BadLabel, BadTime, BadContext,
    ConversionWithoutClick.
    """
    has_conversions = "Conversion" in tasks
    clean = _decode_clean(records, features, has_conversions=has_conversions)
    if clean is not None:
        return clean
    rows: list[tuple[int, int, float, float, Context, float]] = []
    rejected: Counter[str] = Counter()
    for record in records:
        try:
            row = (*_row(record), _context(record, features))
            rows.append((*row, _conversion(record) if has_conversions else 0.0))
        except _Malformed as error:
            rejected[str(error)] += 1
    columns = zip(*rows, strict=True) if rows else ((),) * 6
    users, items, labels, times, contexts, conversions = columns
    return EventBatch(
        np.array(users, np.int64),
        np.array(items, np.int64),
        np.array(labels, np.float32),
        np.array(times, np.float64),
        rejected,
        features.encode(contexts) if features.names else None,
        np.array(conversions, np.float32) if has_conversions else None,
    )


def _decode_clean(
    records: Sequence[Mapping[str, Any]], features: ContextFeatures, *, has_conversions: bool
) -> EventBatch | None:
    """All columns at once where every record is plainly in order, else None."""
    try:
        users = [record["user_id"] for record in records]
        items = [record["item_id"] for record in records]
        labels = [record["label"] for record in records]
        times = [record["event_time"] for record in records]
        conversions = [record.get("conversion", 0) for record in records] if has_conversions else []
        integers = (users, items, labels, conversions)
        if not {each for column in integers for each in map(type, column)} <= {int}:
            return None
        if not {*map(type, times)} <= {float}:
            return None
        batch = EventBatch(
            np.array(users, np.int64),
            np.array(items, np.int64),
            np.array(labels, np.float32),
            np.array(times, np.float64),
            context=features.encode([_context(record, features) for record in records])
            if features.names
            else None,
            conversion=np.array(conversions, np.float32) if has_conversions else None,
        )
    except (KeyError, OverflowError, TypeError, _Malformed):
        return None
    is_in_order = (
        (batch.user != PAD)
        & (batch.item != PAD)
        & ((batch.label == 0) | (batch.label == 1))
        & (batch.time >= EARLIEST)
        & (batch.time <= LATEST)
    )
    if batch.conversion is not None:
        is_of_clicks = (batch.conversion == 0) | ((batch.conversion == 1) & (batch.label == 1))
        is_in_order &= is_of_clicks
    return batch if bool(is_in_order.all()) else None


def _row(record: Mapping[str, Any]) -> tuple[int, int, float, float]:
    try:
        user, item = record["user_id"], record["item_id"]
        label, time = record["label"], record["event_time"]
    except KeyError as error:
        raise _Malformed("MissingField") from error
    except (TypeError, IndexError) as error:
        raise _Malformed("NotAnObject") from error
    return _key(user), _key(item), _label(label), _time(time)


def _context(record: Mapping[str, Any], features: ContextFeatures) -> Context:
    given = record.get("context") if features.names else None
    if isinstance(given, dict):
        given = {name: given[name] for name in features.names if name in given}
    try:
        return read_context(given)
    except BadContext as error:
        raise _Malformed("BadContext") from error


def _key(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise _Malformed("WrongType")
    if isinstance(value, str) and not 0 < len(value) <= LONGEST_ID:
        raise _Malformed("IdOutOfRange")
    try:
        return key_of(value)
    except ValueError as error:
        raise _Malformed("IdOutOfRange") from error


def _label(value: object) -> float:
    # True and False are what JSON writers make of a click.
    if not isinstance(value, bool | int | float):
        raise _Malformed("WrongType")
    if value not in {0, 1}:
        raise _Malformed("BadLabel")
    return float(value)


def _conversion(record: Mapping[str, Any]) -> float:
    conversion = _label(record.get("conversion", 0))
    if conversion and not record["label"]:
        raise _Malformed("ConversionWithoutClick")
    return conversion


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Malformed("WrongType")
    if not EARLIEST <= value <= LATEST or not math.isfinite(value):
        raise _Malformed("BadTime")
    return float(value)
