"""What `millstream tables` shows of a version made by hand: as text, as JSON, as pictures.

Rewrite with WRITE_GOLDEN=1 and review the difference.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest

from millstream_cli.tables.picture import SUFFIXES, draw
from millstream_cli.tables.reading import Fetched, VersionContents
from millstream_cli.tables.text import duration, render_text
from millstream_core.census import count_table, count_waiting
from millstream_core.tables.training import Rows
from millstream_core.tables.usage import ONE, USAGE
from tests.builders.census import HISTORIES, NOW, QUESTION, make_census, make_described
from tests.builders.golden import same_as

HERE = Path(__file__).parent
WIDTH = 100
FIRST_BYTES = {".png": b"\x89PNG\r\n", ".svg": b"<?xml", ".pdf": b"%PDF-"}


def make_contents() -> VersionContents:
    waiting = Rows(np.array([1, 2, 3]), {USAGE: np.array([[ONE, 1, 1]] * 3, np.uint32)})
    sketch = Rows(np.arange(0, 2048, 8), {"count": np.ones((256, 1), np.float32)})
    full = Rows(np.arange(16), {"count": np.ones((16, 1), np.float32)})
    histories = Rows(np.array([3]), {"items": np.zeros((1, 5), np.int64)})
    users = [(7 * key, 1.5**key, 3.0**key) for key in range(1, 17)]
    return VersionContents(
        model="shop",
        lineage="a1b2c3",
        version=41,
        digest="ab" * 32,
        kind="delta",
        created_at=NOW + 5,
        step=12_345,
        as_of=NOW,
        fetched=Fetched(legs=2, bytes=123_456),
        tables=(
            count_table("history", make_described(HISTORIES), histories, (), NOW, QUESTION),
            make_census(
                (-(2**62), 40_000.0, 1.0),
                (12, 0.5, 100_000.0),
                norms=[0.25, float("nan")],
                waiting=(
                    count_waiting("waiting", waiting),
                    count_waiting("sketch-2x1024", sketch),
                    count_waiting("sketch-1x16", full),
                ),
            ),
            make_census(*users).model_copy(update={"table": "user"}),
            make_census().model_copy(update={"table": "empty"}),
        ),
    )


def test_text() -> None:
    assert same_as(HERE / "tables.txt", render_text(make_contents(), WIDTH))


def test_no_line_is_wider_than_asked_for() -> None:
    assert max(map(len, render_text(make_contents(), WIDTH).splitlines())) <= WIDTH


def test_names_from_a_manifest_are_written_as_they_are() -> None:
    waiting = count_waiting("[red]", Rows(np.arange(1), {"bits": np.ones((1, 1), np.uint32)}))
    table = make_census(waiting=(waiting,)).model_copy(update={"table": "[bold]x"})
    text = render_text(make_contents().model_copy(update={"tables": (table,)}), WIDTH)
    assert "\n[bold]x\n" in text
    assert "\n[red]: 12 bytes\n" in text
    overview = text.split("\n[bold]x\n")[0]
    assert "\n[bold]x  " in overview
    assert " [red] " in overview


def test_json() -> None:
    document = make_contents().model_dump(mode="json", by_alias=True)
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n"
    assert same_as(HERE / "tables.json", text)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_picture(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"tables{suffix}"
    draw(make_contents(), path)
    data = path.read_bytes()
    assert data.startswith(FIRST_BYTES[suffix])
    assert len(data) > 10_000


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0 s"),
        (1.0, "1 s"),
        (119.0, "119 s"),
        (120.0, "2 min"),
        (128.0, "2.1 min"),
        (7_200.0, "2 h"),
        (86_400.0, "24 h"),
        (172_800.0, "2 d"),
        (2.0**33, "99,421 d"),
    ],
)
def test_spans_of_time_are_said_in_the_largest_unit_held_twice(seconds: float, said: str) -> None:
    assert duration(seconds) == said
