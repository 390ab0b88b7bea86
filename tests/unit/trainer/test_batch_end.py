"""Where a stream is cut into batches."""

from __future__ import annotations

import numpy as np
import pytest

from millstream_trainer.sources.protocol import WINDOW_SECONDS, batch_end

WINDOW = 1000.0  # begins on a boundary of windows


def at(*parts: float) -> np.ndarray:
    """Times by how many windows they are after 1000.0."""
    return np.array([WINDOW + part * WINDOW_SECONDS for part in parts])


@pytest.mark.parametrize(
    ("times", "now", "count"),
    [
        pytest.param(at(), 3.0, 0, id="no records, no batch"),
        pytest.param(at(0.1, 0.2), 0.5, 0, id="a window that is not over waits for more"),
        pytest.param(at(0.1, 0.2), 1.0, 2, id="a window that is over is a batch"),
        pytest.param(at(0.1, 0.2, 1.1), 2.5, 2, id="the next window is the next batch"),
        pytest.param(at(0.1, 0.2, 0.3, 0.4), 0.5, 3, id="a full batch does not wait"),
        pytest.param(at(0.1, 0.2, 0.3), 0.25, 0, id="what has not happened fills no batch"),
        pytest.param(at(1.0, 1.5), 2.0, 2, id="a record on the boundary belongs to the later one"),
        pytest.param(at(5.1), 5.05, 0, id="a record to come is no batch"),
    ],
)
def test_batch_end(times: np.ndarray, now: float, count: int) -> None:
    assert batch_end(times, 3, WINDOW + now * WINDOW_SECONDS) == count
