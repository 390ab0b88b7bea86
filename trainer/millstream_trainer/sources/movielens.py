"""MovieLens-100K as a stream: 100,000 timestamped ratings of 1997/98, replayed.

The recbole wheel carries the ratings; they are read where it is installed and copied nowhere,
because GroupLens does not allow that (https://files.grouplens.org/datasets/movielens/ml-100k/).
A rating of 4 or more counts as a click, one of 5 as a conversion, too. The context of an event is
the hour and the weekday of the recording (UTC, Monday is 0) and the age, gender and occupation of
the user. Time runs `speed` times as fast as it was recorded.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from millstream_trainer.sources.protocol import Polled, batch_end

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from millstream_api.settings import MovielensSource
    from millstream_trainer.sources.protocol import Record

PARTITION: Final = "0"
WHEEL: Final = "recbole"
FILE: Final = "recbole/dataset_example/ml-100k/ml-100k.inter"
PEOPLE: Final = "recbole/dataset_example/ml-100k/ml-100k.user"
HEADER: Final = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
PEOPLE_HEADER: Final = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token"
CLICK: Final = 4  # stars
CONVERSION: Final = 5


class MovielensReplay:
    """The ratings in time order; after the last one the source idles."""

    def __init__(
        self,
        settings: MovielensSource,
        ratings: NDArray[np.int64],
        people: Mapping[int, Mapping[str, str | int]] | None = None,
    ) -> None:
        """Stand at the first rating.

        Args:
            settings: start and speed of the replay.
            ratings: int64[n, 4] of user, item, stars and Unix seconds of the recording.
            people: what the context says of each user.
        """
        if not settings.speed > 0:
            raise ValueError(f"movielens cannot be replayed at speed {settings.speed}: make it > 0")
        ratings = ratings[np.argsort(ratings[:, 3], kind="stable")]
        self._users, self._items = ratings[:, 0], ratings[:, 1]
        self._labels, self._conversions = (
            (ratings[:, 2] >= stars).astype(np.int64) for stars in (CLICK, CONVERSION)
        )
        self._times = settings.start + (ratings[:, 3] - ratings[0, 3]) / settings.speed
        self._hours = ratings[:, 3] // 3600 % 24
        self._weekdays = (ratings[:, 3] // 86_400 + 3) % 7  # the first of 1970 was a Thursday
        self._people = people or {}
        self._offset = 0

    @classmethod
    def of_installed_wheel(cls, settings: MovielensSource) -> MovielensReplay:
        """Replay the ratings that come with recbole.

        Raises:
            ValueError: recbole is not installed, or does not carry them.
        """
        return cls(settings, _read(_installed_file(FILE)), _read_people(_installed_file(PEOPLE)))

    def poll(self, limit: int, now: float) -> Polled:
        """See Source."""
        times = self._times[self._offset : self._offset + limit]
        times = times[times <= now]
        lag = now - float(times[0]) if len(times) else 0.0
        count = batch_end(times, limit, now)
        span = slice(self._offset, self._offset + count)
        self._offset += count
        return Polled(self._records(span), {PARTITION: self._offset}, lag)

    def seek(self, positions: Mapping[str, int]) -> None:
        """See Source."""
        offset = positions.get(PARTITION, 0)
        if not 0 <= offset <= len(self._times) or positions.keys() - {PARTITION}:
            raise ValueError(f"the movielens source never was at {dict(positions)}")
        self._offset = offset

    def _records(self, span: slice) -> list[Record]:
        columns = (
            self._users,
            self._items,
            self._labels,
            self._conversions,
            self._times,
            self._hours,
            self._weekdays,
        )
        return [
            {
                "user_id": user,
                "item_id": item,
                "label": label,
                "conversion": conversion,
                "event_time": time,
                "context": {"hour": hour, "weekday": weekday, **self._people.get(user, {})},
            }
            for user, item, label, conversion, time, hour, weekday in zip(
                *(column[span].tolist() for column in columns), strict=True
            )
        ]


def _installed_file(name: str) -> Path:
    """Where a file of the wheel is; recbole is not imported, since it needs much that we do not."""
    try:
        path = Path(str(distribution(WHEEL).locate_file(name)))
    except PackageNotFoundError as error:
        raise ValueError(
            "the movielens source reads the ratings inside the recbole wheel, which is not "
            "installed: run `pip install --no-deps recbole`"
        ) from error
    if not path.is_file():
        raise ValueError(
            f"this version of recbole does not carry {name}: "
            "run `pip install --no-deps recbole==1.2.1`"
        )
    return path


def _read(path: Path) -> NDArray[np.int64]:
    with path.open(encoding="utf-8") as lines:
        header = next(lines, "").strip()
        if header != HEADER:
            raise ValueError(f"{FILE} has the columns {header!r}, not {HEADER!r}")
        return np.loadtxt(lines, np.int64, delimiter="\t", ndmin=2)


def _read_people(path: Path) -> dict[int, dict[str, str | int]]:
    with path.open(encoding="utf-8") as lines:
        header = next(lines, "").strip()
        if header != PEOPLE_HEADER:
            raise ValueError(f"{PEOPLE} has the columns {header!r}, not {PEOPLE_HEADER!r}")
        rows = (line.split("\t") for line in lines)
        return {
            int(user): {"age": int(age), "gender": gender, "occupation": occupation}
            for user, age, gender, occupation, _ in rows
        }
