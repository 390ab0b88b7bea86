"""A module of the user's own, from its trainer through S3 to a server that is a program of its own.

The trainer exports the module and publishes a base and deltas; the server loads no torch and knows
the module by its graph alone. Both tell a collector what became of each version.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from millstream_api.names import HEADER_VERSION
from millstream_api.release import Release
from millstream_api.settings import TracingSettings
from millstream_core.telemetry.exporting import SpanExporter
from millstream_core.telemetry.spans import place_of
from millstream_serving.engine.versions import ScratchPad
from millstream_serving.loading.shelf import Shelf
from tests.builders.otlp import collector
from tests.builders.s3_server import s3_server
from tests.builders.server_process import advance, server_process
from tests.builders.serving import until
from tests.builders.trainer import Run, make_settings, manifests, store_of

pytestmark = pytest.mark.integration

USER, ITEMS = 3, list(range(1, 21))


def train(store, endpoint):
    """A base and the deltas of some seconds; returns the settings and each version by number."""
    settings = make_settings(
        store=store.settings.changed(prefix="models"),
        architecture="Custom",
        custom_module="tests.builders.ranker:Ranker",
        base_every=100,
    )
    exporter = SpanExporter(endpoint, {"service.name": "millstream-trainer"}, gather=0.01)
    Run(store.objects(), settings, exporter=exporter).run()
    exporter.close()
    return settings, manifests(store.objects(), settings)


def scores_of(objects, settings, manifest):
    """What this version makes of the items, scored in this process."""
    with ThreadPoolExecutor(2) as pool:
        shelf = Shelf(store_of(objects, settings), pool)
        shelf.load(manifest.ref(), lambda _: True, lambda _: None)
    version = shelf.held[manifest.ref().digest]
    logits = version.logits(USER, np.array(ITEMS), version.history_of(USER), ScratchPad())
    return dict(zip(ITEMS, 1 / (1 + np.exp(-logits.astype(np.float64))), strict=True))


def rank(server):
    answer = httpx.post(f"{server.url}/v1/rank", json={"user_id": USER, "items": ITEMS}, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer


def assert_answers_by(server, version, expected):
    answer = rank(server)
    assert answer.headers[HEADER_VERSION] == str(version)
    found = {each["id"]: each["score"] for each in answer.json()["items"]}
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_custom_model_is_served_and_the_next_version_of_it_after_that(tmp_path):
    with collector() as receiver, s3_server(tmp_path) as store:
        settings, published = train(store, receiver.url)
        base, delta = (published[number] for number in (min(published), max(published)))
        assert (base.kind, delta.kind, delta.graph) == ("base", "delta", base.graph)
        expected = {
            each.version: scores_of(store.objects(), settings, each) for each in (base, delta)
        }
        moved = [
            abs(expected[delta.version][item] - expected[base.version][item]) for item in ITEMS
        ]
        assert max(moved) > 1e-3, "versions that score alike would hide which of them answers"

        first = Release(epoch=1, salt="s", stable=base.ref())
        tracing = TracingSettings(endpoint=receiver.url, sample_ratio=1.0)
        with server_process(tmp_path, settings.store, first, tracing=tracing) as server:
            assert_answers_by(server, base.version, expected[base.version])
            advance(
                server.release_file,
                Release(epoch=2, salt="s", stable=delta.ref(), hold=(base.ref(),)),
            )
            until(lambda: rank(server).headers[HEADER_VERSION] == str(delta.version), "the delta")
            assert_answers_by(server, delta.version, expected[delta.version])
            mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
            assert "onnxruntime" in mapped
            assert "libtorch" not in mapped
            server.process.terminate()
            assert server.process.wait(20) == 0
            said = server.log.read_text()
        assert "Traceback" not in said, said

        for version in (base, delta):
            place = place_of(version.ref())
            trace = {
                each.name: each for each in receiver.spans if int(each.trace, 16) == place.trace
            }
            assert trace["load"].parent == trace["publish"].span
            assert trace["first answer"].parent == trace["load"].span
        scored = [each for each in receiver.spans if each.name == "score"]
        assert len(scored) >= 3
