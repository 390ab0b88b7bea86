"""The program as it is started in a pod: settings file, real S3 server, signals, exit codes."""

from __future__ import annotations

import asyncio
import pickle
import signal
import socket
import subprocess
import sys

import httpx
import numpy as np
import pytest

from millstream_api.manifest import CLICK_AND_CONVERSION, DefaultRow
from millstream_api.release import Release
from millstream_core.erasure.entries import begin_ledger, record
from millstream_core.tables.index import FIRST_CELLS
from tests.builders.erasure import SALT
from tests.builders.features import context_inputs, make_features
from tests.builders.graphs import computed_by, make_graph
from tests.builders.objects import MemoryObjects
from tests.builders.s3_server import s3_server
from tests.builders.server_process import (
    CREDENTIALS,
    advance,
    environment,
    server_process,
    settings_file,
)
from tests.builders.serving import Publisher, make_architecture, random_rows, until


def run(*words, **more):
    """Run the program to its end."""
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "millstream_serving.main", *words],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(None, "No such file", id="a settings file that is not there"),
        pytest.param("{", "cannot be used", id="half a document"),
        pytest.param('{"model":"shop"}', "store", id="settings without a store"),
        pytest.param(
            '{"model":"shop","store":{"bucket":"b"},"release":"nowhere"}',
            "write kube:<namespace>/<config map> or file:<path>",
            id="a release that is nowhere",
        ),
        pytest.param(
            '{"model":"shop","store":{"bucket":"b"},"release":"kube:a/b"}',
            "run in a pod",
            id="a ConfigMap outside a pod",
        ),
    ],
)
def test_settings_that_cannot_be_used_end_the_program_with_a_sentence(tmp_path, text, said):
    path = tmp_path / "settings.json"
    if text is not None:
        path.write_text(text)
    done = run("--settings", str(path), **CREDENTIALS)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_credentials_end_the_program_with_their_name(tmp_path):
    done = run("--settings", str(settings_file(tmp_path)), AWS_ACCESS_KEY_ID="somebody")
    assert done.returncode == 2
    assert "AWS_SECRET_ACCESS_KEY is not set" in done.stderr


def test_a_taken_port_ends_the_program_with_a_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = ["--settings", str(settings_file(tmp_path)), "--host", "127.0.0.1", "--port", port]
        done = run(*words, **CREDENTIALS)
    assert done.returncode == 1
    assert "Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def publish_two(publisher, dense=None):
    """A base that fills more than the first cells of an index, and a delta; returns the last."""
    publisher.publish(random_rows(publisher, FIRST_CELLS, 30), dense=dense)
    changed = random_rows(publisher, 3, 3, seed=1)
    return publisher.publish(changed, gone={"user": [9]}, dense=dense)


FEATURES, GRAPH = make_features(), make_graph()
CONTEXT = context_inputs(FEATURES)
MET_IN_PRODUCTION = {
    "without features": {},
    "with every kind of feature": {
        "features": FEATURES,
        "architecture": make_architecture(context=CONTEXT),
    },
    "two towers": {"architecture": make_architecture(name="DotProduct", attention=())},
    "a perceptron with features": {
        "features": FEATURES,
        "architecture": make_architecture(name="MLP", attention=(), context=CONTEXT),
    },
    "a DIN of clicks and conversions": {
        "architecture": make_architecture(tasks=CLICK_AND_CONVERSION)
    },
    "a perceptron of clicks and conversions": {
        "architecture": make_architecture(name="MLP", attention=(), tasks=CLICK_AND_CONVERSION)
    },
    "a module of the user's own": {"architecture": computed_by(GRAPH), "graph": GRAPH},
    "rows in 16 bits": {"served": "float16"},
    "rows in 8 bits": {"served": "int8rows", "default": DefaultRow(policy="HashInit", spread=0.1)},
}


def test_no_kernel_is_compiled_after_the_warm_up(tmp_path):
    """A user must not wait for a compiler, so warm-up has to know every type that is met."""
    stores = {}
    for name, model in MET_IN_PRODUCTION.items():
        publisher = Publisher(MemoryObjects(), **model)
        dense = {"custom.w": np.ones(8, np.float32)} if "graph" in model else None
        stores[name] = (publisher.objects.objects, publish_two(publisher, dense))
    publisher = Publisher(MemoryObjects())
    last = publish_two(publisher)
    record(
        publisher.store,
        begin_ledger(publisher.store, SALT),
        "erase",
        "user",
        [3],
        at=1.0,
        reason="",
    )
    stores["with an erased user"] = (publisher.objects.objects, last)
    (stored := tmp_path / "stores").write_bytes(pickle.dumps(stores))
    script = """
import gc, pickle, sys
from concurrent.futures import ThreadPoolExecutor
from numba.core.dispatcher import Dispatcher
from tests.builders.objects import MemoryObjects
from millstream_core.erasure.entries import read_ledger
from millstream_core.store import ModelStore
from millstream_serving.engine.versions import ScratchPad
from millstream_serving.engine.warmup import warm_up
from millstream_serving.features.store import VersionedHistory
from millstream_serving.loading.shelf import Shelf
from millstream_serving.ranking.answers import Query, answer
from millstream_serving.ranking.shadow import compare, enough_queries

def kernels():
    return [each for each in gc.get_objects() if isinstance(each, Dispatcher)
            and each.py_func.__module__.startswith("millstream_")]

def compiled():
    return {(each.py_func.__module__, each.py_func.__name__, str(signature))
            for each in kernels() for signature in each.signatures}

warm_up()
before = compiled()
assert before
for name, (stored, last) in pickle.loads(open(sys.argv[1], "rb").read()).items():
    objects = MemoryObjects()
    objects.objects = stored
    store = ModelStore(objects, "models", "shop")
    shelf = Shelf(store, ThreadPoolExecutor(2))
    shelf.load(last, lambda _: True, lambda _: None)
    shelf.forget(read_ledger(store, shelf.ledger))
    exact = list(shelf.held.values())
    while shelf.reduce():
        pass
    context = {"device": "web", "price": 3}
    asked = Query(3, (1000, "x"), context=context)
    for base, delta in (exact, shelf.held.values()):
        for query in (asked, Query("3", None, k=2), Query(None, (1,), (1000,))):
            answer(query, [delta, base], VersionedHistory(), 10, ScratchPad())
        compare(delta, base, enough_queries([], base, 10), lambda: None)
    shelf.drop_all_but({last.digest})
    if late := compiled() - before:
        print(name, late, file=sys.stderr)

assert not compiled() - before
uncached = [each for each in kernels() if each.signatures and not each._cache.cache_path]
assert not uncached, uncached
"""
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", script, stored],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.integration
def test_a_replica_serves_from_a_real_store_outlives_it_and_leaves_without_a_failed_request(
    tmp_path,
):
    with s3_server(tmp_path) as store:
        publisher = Publisher(store.objects(), model="shop")
        base = publisher.publish(random_rows(publisher, 20, 30))
        delta = publisher.publish(random_rows(publisher, 3, 3, seed=1))
        settings = store.settings.changed(prefix="models")
        first = Release(epoch=1, salt="s", stable=base)
        with server_process(tmp_path, settings, first) as server:
            report = server.report()
            assert (report.replica, report.epoch) == ("shop-server-0", 1)
            forward = Release(epoch=2, salt="s", stable=delta, hold=(base,))
            advance(server.release_file, forward)
            until(lambda: server.report().epoch == 2, "the delta")

            store.process.kill()
            assert httpx.get(f"{server.url}/recommend/3").json()["version"] == 1
            back = Release(epoch=3, salt="s", stable=base, hold=(delta,))
            advance(server.release_file, back)
            until(
                lambda: httpx.get(f"{server.url}/recommend/3").json()["version"] == 0,
                "going back",
            )

            failed = asyncio.run(ask_while_it_leaves(server.process, server.port))
            assert failed == []
            assert server.process.wait(20) == 0
            said = server.log.read_text()
    assert "Traceback" not in said, said


async def ask_while_it_leaves(process, port):
    """Ask over connections that stay open, the way a proxy does, until told to go elsewhere."""
    failed, answered = [], 0
    body = b'{"user_id":3,"items":[1001,1002,1003]}'
    request = b"POST /v1/rank HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )

    async def ask():
        nonlocal answered
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = b""
        while b"connection: close" not in head:
            try:
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                failed.append(repr(error))
                break
            if b" 200 ok" not in head:
                failed.append(head)
            answered += 1
        writer.close()

    asking = [asyncio.create_task(ask()) for _ in range(8)]
    async with asyncio.timeout(30):
        while answered < 100:  # noqa: ASYNC110 - counted by eight tasks
            await asyncio.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(asyncio.gather(*asking), 30)
    return failed
