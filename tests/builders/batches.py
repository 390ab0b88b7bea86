"""Inputs of the trainer's networks, and the logits that their definitions make of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from millstream_trainer.models.networks import Inputs
from tests.builders.definitions import NO_CONTEXT, logit_by_definition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from millstream_api.manifest import Architecture

USERS, ITEMS, CONTEXTS = 3, 5, 7  # rows that a batch reads


def make_inputs(architecture: Architecture, seed: int = 0, events: int = 6) -> Inputs:
    """A batch; its first event has no history and its second a full one."""
    random = np.random.default_rng(seed)
    width, places = architecture.embedding_dim, architecture.history_length
    context = architecture.context

    def normal(*shape: int) -> torch.Tensor:
        return torch.from_numpy(random.normal(size=shape).astype(np.float32))

    def index(bound: int, *shape: int) -> torch.Tensor:
        return torch.from_numpy(random.integers(0, bound, shape))

    is_history = torch.from_numpy(random.random((events, places)) < 0.6)
    is_history[0] = False
    is_history[1] = True
    made = Inputs(
        normal(USERS, width), normal(ITEMS, width), index(USERS, events), index(ITEMS, events),
        index(ITEMS, events, places), is_history,
    )  # fmt: skip
    if not context.width:
        return made
    return replace(
        made,
        context_rows=normal(CONTEXTS, context.dim),
        context_index=index(CONTEXTS, events, context.rows),
        context_floats=normal(events, context.floats),
    )


def logits_by_definition(
    architecture: Architecture, dense: Mapping[str, NDArray[Any]], inputs: Inputs
) -> list[float]:
    """Event by event, each with the rows that it reads."""
    users, items = inputs.users.double().numpy(), inputs.items.double().numpy()
    logits = []
    for event in range(len(inputs.user_index)):
        seen = items[inputs.history_index[event][inputs.is_history[event]].numpy()]
        context = NO_CONTEXT
        if inputs.context_rows is not None:
            rows = inputs.context_rows[inputs.context_index[event]]
            context = torch.cat([rows.ravel(), inputs.context_floats[event]]).double().numpy()
        user, item = users[inputs.user_index[event]], items[inputs.item_index[event]]
        logits.append(logit_by_definition(architecture.name, dense, user, item, seen, context))
    return logits
