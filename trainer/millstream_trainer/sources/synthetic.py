"""A stream made up from a seed: taste that turns, items that are born, a truth that is known.

Whoever wants to know what staleness costs needs a stream whose truth is at hand and moves. Here a
click's probability is a logistic function of two parts, both of which turn by `drift_per_hour`:

    appeal of the item    √2 · cos(angle(t) + phase_i)         what is in fashion
    taste of the user     ⟨u, R(angle(t)) v_i⟩                  whose item it is

with u and v_i in planes that R turns. Users and items are drawn by Zipf's law; part of the events
go to the items born last. Every event is a pure function of (settings, number): blocks of events
are drawn from generators seeded by the block's number, so any reader continues anywhere at the
cost of one block.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from millstream_trainer.sources.protocol import Polled, batch_end

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from millstream_api.settings import SyntheticSource
    from millstream_trainer.sources.protocol import Record

PARTITION: Final = "0"
BLOCK: Final = 8192  # events drawn at once
PLANES: Final = 2  # taste lives in so many planes
USER_EXPONENT: Final = 0.8  # of Zipf's law
ITEM_EXPONENT: Final = 1.0
NEWEST: Final = 50  # items that new arrivals compete among
NEWEST_SHARE: Final = 0.1  # of events that go to them
BIAS: Final = -0.6  # clicks are the minority
APPEAL: Final = 1.2  # weight of fashion
TASTE: Final = 1.2  # weight of the personal part

_USERS, _ITEMS, _EVENTS = range(3)  # streams of random numbers below one seed


class SyntheticStream:
    """The generator; event n happens at start + n / events_per_second."""

    def __init__(self, settings: SyntheticSource) -> None:
        """Stand at the first event.

        Raises:
            ValueError: settings that describe no stream.
        """
        if settings.users < 1 or settings.items < 1 or not settings.events_per_second > 0:
            raise ValueError(
                "the synthetic source needs at least one user, one item and a positive "
                "events_per_second"
            )
        self._settings = settings
        self._offset = 0
        self._user_law = _zipf(settings.users, USER_EXPONENT)
        self._item_law = _zipf(settings.items, ITEM_EXPONENT)
        self._block = lru_cache(maxsize=4)(self._draw_block)

    def poll(self, limit: int, now: float) -> Polled:
        """See Source."""
        # All due events up to one more block than wanted: enough for any cut.
        numbers = np.arange(self._offset, self._offset + limit)
        times = self._times(numbers)
        times = times[times <= now]
        lag = now - float(times[0]) if len(times) else 0.0
        count = batch_end(times, limit, now)
        records = self._records(self._offset, count)
        self._offset += count
        return Polled(records, {PARTITION: self._offset}, lag)

    def seek(self, positions: Mapping[str, int]) -> None:
        """See Source."""
        offset = positions.get(PARTITION, 0)
        if offset < 0 or positions.keys() - {PARTITION}:
            raise ValueError(f"the synthetic source never was at {dict(positions)}")
        self._offset = offset

    def click_probability(
        self, users: NDArray[np.int64], items: NDArray[np.int64], times: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The truth: float64[n], how likely each user clicks each item at these Unix seconds."""
        hours = (times - self._settings.start) / 3600
        angle = self._settings.drift_per_hour * hours
        user_count, item_count = int(users.max(initial=0)), int(items.max(initial=0))
        taste = self._latent(_USERS, user_count)[0][users - 1]
        vectors, phases = (part[items - 1] for part in self._latent(_ITEMS, item_count))
        appeal = np.sqrt(2) * np.cos(angle + phases)
        # A plane is one complex number; turning is multiplication by exp(i·angle).
        turned = vectors * np.exp(1j * angle)[:, None]
        personal = (taste.conj() * turned).real.sum(axis=1) / np.sqrt(PLANES)
        logits = BIAS + APPEAL * appeal + TASTE * personal * np.sqrt(2)
        return np.asarray(1 / (1 + np.exp(-logits)))

    def _times(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        return self._settings.start + numbers / self._settings.events_per_second

    def _records(self, offset: int, count: int) -> list[Record]:
        records: list[Record] = []
        while len(records) < count:
            block, first = divmod(offset + len(records), BLOCK)
            last = min(BLOCK, first + count - len(records))
            columns = (column[first:last].tolist() for column in self._block(block))
            records += [
                {"user_id": user, "item_id": item, "label": label, "event_time": time}
                for user, item, label, time in zip(*columns, strict=True)
            ]
        return records

    def _draw_block(
        self, block: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Users, items, labels and times of one block of events."""
        random = np.random.default_rng((self._settings.seed, _EVENTS, block))
        times = self._times(np.arange(block * BLOCK, (block + 1) * BLOCK))
        users = 1 + np.searchsorted(self._user_law, random.random(BLOCK))
        items = 1 + np.searchsorted(self._item_law, random.random(BLOCK))
        born = self._settings.items + np.floor(
            (times - self._settings.start) / 3600 * self._settings.new_items_per_hour
        ).astype(np.int64)
        newest = born - random.integers(0, min(NEWEST, self._settings.items), BLOCK)
        items = np.where(random.random(BLOCK) < NEWEST_SHARE, newest, items)
        is_click = random.random(BLOCK) < self.click_probability(users, items, times)
        return users, items, is_click.astype(np.int64), times

    def _latent(self, kind: int, count: int) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
        """Vectors complex128[m, PLANES] and phases float64[m] of the first m >= count ids."""
        return _latent(self._settings.seed, kind, 1 << max(count - 1, 1).bit_length())


@lru_cache(maxsize=8)
def _latent(seed: int, kind: int, count: int) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    # Row by row from one generator: a longer draw starts with the shorter one.
    rows = np.random.default_rng((seed, kind)).standard_normal((count, 2 * PLANES + 1))
    vectors = (rows[:, :PLANES] + 1j * rows[:, PLANES : 2 * PLANES]) / np.sqrt(2)
    return vectors, 2 * np.pi * _normal_cdf(rows[:, -1])


def _normal_cdf(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Uniform numbers from normal ones (logistic approximation; the phases need no more)."""
    return np.asarray(1 / (1 + np.exp(-1.702 * values)))


def _zipf(count: int, exponent: float) -> NDArray[np.float64]:
    """Cumulative probabilities of ranks 1..count."""
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    law = np.cumsum(weights)
    law /= law[-1]
    return law
