"""The replay of MovieLens: time order, clicks, the end."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING

import numpy as np
import pytest

from millstream_api.settings import MovielensSource
from millstream_trainer.sources import movielens
from millstream_trainer.sources.movielens import MovielensReplay

if TYPE_CHECKING:
    from pathlib import Path

START = 1_700_000_000.0
PEOPLE = {1: {"age": 24, "gender": "M"}}
RATINGS = np.array([[1, 10, 5, 2000], [2, 20, 3, 1000], [3, 30, 4, 1500], [4, 40, 1, 1000]])
FOREVER = START + 1e9


def make_replay(**fields: float) -> MovielensReplay:
    settings = MovielensSource(**({"start": START, "speed": 100.0} | fields))
    return MovielensReplay(settings, RATINGS, PEOPLE)


def test_ratings_come_in_time_order_at_the_asked_speed() -> None:
    replay = make_replay()
    records = [record for _ in range(3) for record in replay.poll(10, FOREVER).records]
    assert [record["user_id"] for record in records] == [2, 4, 3, 1]
    assert [record["event_time"] - START for record in records] == [0, 0, 5, 10]


def test_four_stars_and_more_are_a_click() -> None:
    replay = make_replay()
    records = [record for _ in range(3) for record in replay.poll(10, FOREVER).records]
    assert [record["label"] for record in records] == [0, 0, 1, 1]


def test_five_stars_are_a_conversion_too() -> None:
    replay = make_replay()
    records = [record for _ in range(3) for record in replay.poll(10, FOREVER).records]
    assert [record["conversion"] for record in records] == [0, 0, 0, 1]


def test_a_context_tells_when_it_was_and_who() -> None:
    """Of the recording, at the end of which second 2000 was in the first hour of a Thursday."""
    ratings = np.array([[1, 10, 5, 2000], [2, 20, 3, 86_400 * 4 + 3600 * 23]])
    replay = MovielensReplay(MovielensSource(start=START, speed=1e9), ratings, PEOPLE)
    contexts = [record["context"] for record in replay.poll(10, FOREVER).records]
    assert contexts == [
        {"hour": 0, "weekday": 3, "age": 24, "gender": "M"},
        {"hour": 23, "weekday": 0},
    ]


def test_a_rating_is_not_replayed_before_its_time() -> None:
    replay = make_replay()
    assert len(replay.poll(10, START + 4).records) == 2
    assert not replay.poll(10, START + 4).records
    assert len(replay.poll(10, START + 6).records) == 1


def test_after_the_last_rating_it_idles() -> None:
    replay = make_replay()
    replay.seek({"0": 3})
    assert replay.poll(10, FOREVER).positions == {"0": 4}
    for _ in range(3):
        polled = replay.poll(10, FOREVER)
        assert not polled.records
        assert polled.lag_seconds == 0


def test_a_reader_continues_where_the_positions_say() -> None:
    first, second = make_replay(), make_replay()
    second.seek(first.poll(10, FOREVER).positions)
    assert second.poll(10, FOREVER) == first.poll(10, FOREVER)


@pytest.mark.parametrize("positions", [{"0": 5}, {"0": -1}, {"7": 0}])
def test_a_position_of_another_stream_is_refused(positions: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="never was at"):
        make_replay().seek(positions)


def test_a_replay_that_stands_still_is_refused() -> None:
    with pytest.raises(ValueError, match="make it > 0"):
        make_replay(speed=0.0)


def test_without_the_wheel_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(movielens, "WHEEL", "no-such-wheel-as-this")
    with pytest.raises(ValueError, match="pip install --no-deps recbole"):
        MovielensReplay.of_installed_wheel(MovielensSource(start=START))


def test_another_wheel_is_told_from_the_right_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(movielens, "WHEEL", "numpy")
    monkeypatch.setattr(movielens, "FILE", "numpy/no-such-file")
    with pytest.raises(ValueError, match="does not carry"):
        MovielensReplay.of_installed_wheel(MovielensSource(start=START))
    path = tmp_path / "ratings"
    path.write_text("some\tother\tcolumns\n1\t2\t3\n")
    monkeypatch.setattr(movielens, "_installed_file", lambda _: path)
    with pytest.raises(ValueError, match="has the columns"):
        MovielensReplay.of_installed_wheel(MovielensSource(start=START))
    monkeypatch.setattr(movielens, "_read", lambda _: RATINGS)
    with pytest.raises(ValueError, match=r"ml-100k\.user has the columns"):
        MovielensReplay.of_installed_wheel(MovielensSource(start=START))


def test_the_wheel_holds_a_hundred_thousand_ratings() -> None:
    try:
        distribution("recbole")
    except PackageNotFoundError:
        pytest.skip("recbole is not installed: pip install --no-deps recbole")
    replay = MovielensReplay.of_installed_wheel(MovielensSource(start=START, speed=1e9))
    seen, occupations = 0, set()
    while records := replay.poll(5000, FOREVER).records:
        seen += len(records)
        occupations |= {record["context"]["occupation"] for record in records}
        assert {type(record["context"]["age"]) for record in records} == {int}
    assert seen == 100_000
    assert len(occupations) == 21
