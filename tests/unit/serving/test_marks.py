"""The marked weights that other tests trust to show an answer made of two versions."""

from __future__ import annotations

import numpy as np
import pytest

from millstream_serving.engine.din import Din
from tests.builders.scoring import logits_of, make_request
from tests.builders.serving import make_architecture, marked_dense


@pytest.mark.parametrize(
    ("user", "item", "history", "is_mixed"),
    [
        pytest.param(7, 7, 7, False, id="all of one version"),
        pytest.param(6, 7, 7, True, id="the user of another"),
        pytest.param(7, 8, 7, True, id="the candidate of another"),
        pytest.param(7, 7, 6, True, id="the history of another"),
        pytest.param(6, 6, 6, True, id="all rows of another than the weights"),
        pytest.param(6, 8, 7, True, id="differences of both signs"),
    ],
)
def test_a_mix_shows_in_the_logit(user, item, history, is_mixed):
    architecture = make_architecture()
    network = Din.of(architecture, marked_dense(architecture, 7))
    rows = np.zeros((3, architecture.embedding_dim), np.float32)
    rows[:, 0] = (user, item, history)
    [logit] = logits_of(network, make_request(rows, 0, [1], [2]))
    distance = abs(float(logit) - 0.07)
    assert distance > 0.5 if is_mixed else distance < 1e-4
