"""How many CPUs a container allows."""

from __future__ import annotations

import pytest

from millstream_trainer.cpus import allowed_cpus, training_threads


@pytest.mark.parametrize(
    ("affinity", "cpu_max", "allowed"),
    [
        pytest.param(8, "max 100000\n", 8, id="no limit: the CPUs it may run on"),
        pytest.param(8, "max", 8, id="no limit, said shortly"),
        pytest.param(8, "250000 100000\n", 2, id="two and a half CPUs are two"),
        pytest.param(8, "50000 100000\n", 1, id="half a CPU is one"),
        pytest.param(2, "800000 100000\n", 2, id="a limit above the machine"),
    ],
)
def test_allowed_cpus(affinity: int, cpu_max: str, allowed: int) -> None:
    assert allowed_cpus(affinity, cpu_max) == allowed


def test_there_is_always_a_thread() -> None:
    assert training_threads() >= 1
