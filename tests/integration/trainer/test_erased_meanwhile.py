"""R29: a user is erased at any moment of a trainer's start."""

from __future__ import annotations

import pytest

from tests.builders.chain import World
from tests.builders.mishaps import Mishap

CALLS = 40  # of a trainer that starts and publishes


@pytest.mark.parametrize("seed", [3, 547])
def test_who_restores_a_version_knows_whom_it_is_without(seed: int) -> None:
    """Else it would learn that user again, and publish rows of one whom its parent lacks."""
    for call in range(1, CALLS):
        world = World(seed)
        for _ in range(4):
            world.act("publish", 0)

        def meanwhile(world: World = world) -> None:
            for user in range(4):
                world.act("erase", user)

        # What it restored is held against what its place in the stream says, as the chain does.
        world.act("publish", 1, Mishap(call, "others act", "", meanwhile))
