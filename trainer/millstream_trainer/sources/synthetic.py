"""A stream made up from a seed: taste that turns, items that are born, a truth that is known.

Whoever wants to know what staleness costs needs a stream whose truth is at hand and moves. Here a
click's probability is a logistic function of two parts, both of which turn by `drift_per_hour`:

    appeal of the item    √2 · cos(angle(t) + phase_i)         what is in fashion
    taste of the user     ⟨u, R(angle(t)) v_i⟩                  whose item it is

Of the clicks some become conversions, by another logistic function that does not move and knows
nothing of clicks:

    value of the item     √2 · cos(2π · worth_i)                what is worth its price
    means of the user     √2 · cos(2π · purse_u)                who buys at all

with u and v_i in planes that R turns. An event's context has the hour of the day and a device, and
with `context_effect` a third part says whose item it is among devices; it does not turn.

Users and items are drawn by Zipf's law; part of the events go to the items born last. Every event
is a pure function of (settings, number): blocks of events are drawn from generators seeded by the
block's number and latent vectors are hashed from ids, so any reader continues anywhere at the cost
of one block, and a hundred million users cost nothing.
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
CONVERSION_BIAS: Final = -1.0
VALUE: Final = 1.2  # weight of an item's
MEANS: Final = 0.8  # weight of a user's
DEVICES: Final = ("phone", "tablet", "web")

# Streams of hashed numbers below one seed; a latent vector takes two for each plane.
_USERS, _ITEMS, _PHASES, _DEVICES = 0, 2 * PLANES, 4 * PLANES, 4 * PLANES + 1
_WORTHS, _PURSES, _CONVERSIONS = 4 * PLANES + 2, 4 * PLANES + 3, 4 * PLANES + 4
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


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
        self._block = lru_cache(maxsize=4)(self._draw_block)

    def poll(self, limit: int, now: float) -> Polled:
        """See Source."""
        times = self._times(np.arange(self._offset, self._offset + limit))
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
        self,
        users: NDArray[np.int64],
        items: NDArray[np.int64],
        times: NDArray[np.float64],
        devices: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        """The truth: float64[n], how likely each user clicks each item.

        Args:
            users: int64[n].
            items: int64[n].
            times: float64[n], Unix seconds.
            devices: int64[n], places in DEVICES; None: of no device.
        """
        hours = (times - self._settings.start) / 3600
        angle = self._settings.drift_per_hour * hours
        phase = 2 * np.pi * self._uniform(_PHASES, items)
        appeal = np.sqrt(2) * np.cos(angle + phase)
        # A plane is one complex number; turning is multiplication by exp(i·angle).
        turned = self._planes(_ITEMS, items) * np.exp(1j * angle)
        taste = np.sum((self._planes(_USERS, users).conj() * turned).real, axis=0)
        logits = BIAS + APPEAL * appeal + TASTE * taste * np.sqrt(2 / PLANES)
        if devices is not None and self._settings.context_effect:
            own = np.sqrt(2) * np.cos(phase + 2 * np.pi * devices / len(DEVICES))
            logits = logits + self._settings.context_effect * own
        return np.asarray(1 / (1 + np.exp(-logits)))

    def conversion_probability(
        self, users: NDArray[np.int64], items: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """The truth of clicks: float64[n], how likely one of each user on each item converts.

        Args:
            users: int64[n].
            items: int64[n].
        """
        value, means = (
            np.sqrt(2) * np.cos(2 * np.pi * self._uniform(stream, ids))
            for stream, ids in ((_WORTHS, items), (_PURSES, users))
        )
        return np.asarray(1 / (1 + np.exp(-(CONVERSION_BIAS + VALUE * value + MEANS * means))))

    def _times(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        return self._settings.start + numbers / self._settings.events_per_second

    def _records(self, offset: int, count: int) -> list[Record]:
        records: list[Record] = []
        while len(records) < count:
            block, first = divmod(offset + len(records), BLOCK)
            last = min(BLOCK, first + count - len(records))
            columns = (column[first:last].tolist() for column in self._block(block))
            records += [
                {
                    "user_id": user,
                    "item_id": item,
                    "label": label,
                    "conversion": conversion,
                    "event_time": time,
                    "context": {"device": DEVICES[device], "hour": hour},
                }
                for user, item, label, conversion, time, device, hour in zip(*columns, strict=True)
            ]
        return records

    def _draw_block(self, block: int) -> tuple[NDArray[np.int64] | NDArray[np.float64], ...]:
        """Users, items, labels, conversions, times, devices and hours of one block of events."""
        random = np.random.default_rng((self._settings.seed, block))
        numbers = np.arange(block * BLOCK, (block + 1) * BLOCK)
        times = self._times(numbers)
        devices = (self._uniform(_DEVICES, numbers) * len(DEVICES)).astype(np.int64)
        users = _zipf(random.random(BLOCK), self._settings.users, USER_EXPONENT)
        items = _zipf(random.random(BLOCK), self._settings.items, ITEM_EXPONENT)
        born = self._settings.items + np.floor(
            (times - self._settings.start) / 3600 * self._settings.new_items_per_hour
        ).astype(np.int64)
        newest = born - random.integers(0, min(NEWEST, self._settings.items), BLOCK)
        items = np.where(random.random(BLOCK) < NEWEST_SHARE, newest, items)
        is_click = random.random(BLOCK) < self.click_probability(users, items, times, devices)
        # By the event's number: the generator draws for a block what it always drew.
        is_conversion = is_click & (
            self._uniform(_CONVERSIONS, numbers) < self.conversion_probability(users, items)
        )
        hours = (times % 86_400 // 3600).astype(np.int64)
        labels, conversions = (each.astype(np.int64) for each in (is_click, is_conversion))
        return users, items, labels, conversions, times, devices, hours

    def _planes(self, kind: int, ids: NDArray[np.int64]) -> NDArray[np.complex128]:
        """Latent vectors, complex128[PLANES, n], each number standard normal (Box, Muller)."""
        first = kind + 2 * np.arange(PLANES)[:, None]
        radius = np.sqrt(-np.log1p(-self._uniform(first, ids)))
        return np.asarray(radius * np.exp(2j * np.pi * self._uniform(first + 1, ids)))

    def _uniform(
        self, stream: int | NDArray[np.int64], ids: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Numbers in [0, 1) that belong to ids: hashed, so that nothing is kept of any id."""
        seeded = _mix(np.asarray(stream).astype(np.uint64) + _mix(np.uint64(self._settings.seed)))
        return np.asarray((_mix(ids.astype(np.uint64) ^ seeded) >> np.uint64(11)) * 2.0**-53)


def _zipf(uniform: NDArray[np.float64], count: int, exponent: float) -> NDArray[np.int64]:
    """Ranks 1..count by (nearly) Zipf's law: the inverse of its integral, at any count."""
    last = count + 1.0
    if exponent == 1.0:
        ranks = last**uniform
    else:
        power = 1 - exponent
        ranks = (uniform * (last**power - 1) + 1) ** (1 / power)
    return np.minimum(ranks.astype(np.int64), count)


def _mix(value: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """SplitMix64: the next number after this state."""
    state = np.atleast_1d(value) + _GOLDEN  # arrays wrap around silently, scalars warn
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)))
