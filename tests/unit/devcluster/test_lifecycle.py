"""What `up` does with a cluster in any state."""

from pathlib import Path

import pytest

from devcluster.lifecycle import Action, Made, decide_up
from devcluster.paths import State

ALL = ("etcd", "kube-apiserver", "kubelet")


@pytest.mark.parametrize(
    ("working", "made_by", "action", "restart"),
    [
        pytest.param((), None, Action.FRESH, ALL, id="nothing there: make one"),
        pytest.param(ALL, None, Action.FRESH, ALL, id="never completed: clean and make one"),
        pytest.param(ALL, "/new", Action.NOTHING, (), id="all answers: leave it"),
        pytest.param(
            ("etcd", "kubelet"), "/new", Action.REPAIR, ("kube-apiserver",), id="one is mute"
        ),
        pytest.param(
            ("kubelet",), "/new", Action.REPAIR, ("etcd", "kube-apiserver"), id="in starting order"
        ),
        pytest.param((), "/new", Action.FRESH, ALL, id="all dead, as after a reboot"),
        pytest.param(ALL, "/old", Action.FRESH, ALL, id="runs another version"),
    ],
)
def test_up_does_what_the_state_asks_for(working, made_by, action, restart):
    plan = decide_up(ALL, working, made_by, "/new")
    assert (plan.action, plan.restart) == (action, restart)
    assert plan.reason


def test_what_a_cluster_was_made_with_is_read_back(tmp_path):
    state = State(tmp_path / "cluster")
    assert Made.read(state) is None
    made = Made(Path("/programs"), "127.0.0.1", {"etcd": 4000}, audit=True, complete=False)
    made.write(state)
    assert Made.read(state) == made
