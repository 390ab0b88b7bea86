"""Scores do not depend on what else is in the request."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream_serving.engine.din import Din
from tests.builders.scoring import logits_of, make_request
from tests.builders.serving import make_architecture, random_dense

ARCHITECTURE = make_architecture()
NETWORK = Din.of(ARCHITECTURE, random_dense(ARCHITECTURE))
ROWS = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)

slots = st.integers(-1, 49)


def logits(user, items, history):
    return logits_of(NETWORK, make_request(ROWS, user, items, history))


@settings(deadline=None)
@given(slots, st.lists(slots, min_size=1, max_size=40), st.lists(slots, max_size=5))
def test_an_item_scores_the_same_alone_and_among_others(user, items, history):
    together = logits(user, items, history)
    alone = [logits(user, [item], history)[0] for item in items]
    np.testing.assert_array_equal(together, alone)


@settings(deadline=None)
@given(slots, slots, st.lists(slots, min_size=2, max_size=5))
def test_the_order_of_the_history_does_not_matter(user, item, history):
    forth, back = logits(user, [item], history), logits(user, [item], history[::-1])
    np.testing.assert_allclose(forth, back, atol=1e-5)
