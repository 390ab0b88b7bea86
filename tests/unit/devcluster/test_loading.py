"""Several images on their way to containerd beside each other."""

from __future__ import annotations

import threading
from pathlib import Path

from devcluster import stock
from devcluster.containerd import Containerd
from devcluster.full import Full
from devcluster.images import Build, ImageStore
from devcluster.paths import State
from devcluster.progress import Progress

SLOW, QUICK = "localhost/slow:1", "localhost/quick:1"


def test_replaced_images_are_forgotten_once_no_image_is_on_its_way(tmp_path, monkeypatch):
    """Else the layers go on which the image that comes last is being unpacked."""
    events, quick_is_there = [], threading.Event()

    def load(_, __, tag):
        if tag == QUICK:
            quick_is_there.set()
        else:
            assert quick_is_there.wait(10)
        events.append(tag)
        return 1

    monkeypatch.setattr(stock, "ensure_base", lambda *_: None)
    monkeypatch.setattr(ImageStore, "build", lambda *_: None)
    monkeypatch.setattr(Containerd, "load", load)
    monkeypatch.setattr(Containerd, "forget_replaced", lambda _: events.append("forgotten"))
    state = State(tmp_path)
    state.containerd_socket.parent.mkdir(parents=True)
    state.containerd_socket.touch()
    builds = [Build(tag, Path("Containerfile"), tmp_path) for tag in (SLOW, QUICK)]
    assert Full(state, tmp_path, Progress()).load_images(builds) == [1, 1]
    assert events == [QUICK, SLOW, "forgotten"]
