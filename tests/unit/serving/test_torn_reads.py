"""Scoring threads beside a loading thread: an answer is of one version, whatever comes and goes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from millstream_serving.engine.versions import ScratchPad
from millstream_serving.loading.shelf import Shelf
from tests.builders.objects import MemoryObjects
from tests.builders.serving import Publisher, history_row, marked_dense

READS = 1_000_000  # rows that answers are made of
USERS, ITEMS = 60, 120
HELD = 4  # stable, two before it, and a candidate


def rows_marked(publisher, mark):
    """Users and items from the mark on: some leave with each version, and some are new."""
    row = np.zeros(publisher.architecture.embedding_dim, np.float32)
    row[0] = mark
    users, items = range(mark, mark + USERS), range(1000 + mark, 1000 + mark + ITEMS)
    clicked = history_row(publisher.architecture, list(items[:3]))
    return {
        "user": dict.fromkeys(users, row),
        "item": dict.fromkeys(items, row),
        "history": dict.fromkeys(users, clicked),
    }


def publish(publisher, mark):
    rows = rows_marked(publisher, mark)
    gone = {
        name: sorted(table.keys() - rows[name].keys()) for name, table in publisher.tables.items()
    }
    return publisher.publish(
        rows, gone=gone, dense=marked_dense(publisher.architecture, mark), base=mark % 17 == 16
    )


class Reader(threading.Thread):
    """Asks whatever version is in force; counts rows, and answers that are of two versions."""

    def __init__(self, in_force, is_over, seed):
        super().__init__(daemon=True)
        self.in_force, self.is_over = in_force, is_over
        self.draw = np.random.default_rng(seed)
        self.reads = self.mixed = 0
        self.versions = set()

    def run(self):
        pad = ScratchPad()
        while not self.is_over.is_set():
            version = self.in_force[0]
            mark = version.ref.version
            user = mark + int(self.draw.integers(USERS))
            items = 1000 + mark + self.draw.integers(0, ITEMS, 50)
            history = version.history_of(user)
            logits = version.logits(user, items, history, pad)
            is_whole = np.array_equal(history, 1000 + mark + np.arange(3))
            self.mixed += not (is_whole and np.all(np.abs(logits - mark / 100) < 1e-3))
            self.reads += len(items) + len(history) + 2
            self.versions.add(mark)


def test_a_million_reads_under_apply_and_rollback_mix_no_versions():
    """R22: each version writes its number into all its rows and weights; see marked_dense.

    Keys leave and come, so indexes are changed as well.
    """
    publisher = Publisher(MemoryObjects())
    with ThreadPoolExecutor(4) as pool:
        shelf = Shelf(publisher.store, pool)
        refs = [publish(publisher, 0)]
        shelf.load(refs[0], lambda _: True, lambda _: None)
        in_force, is_over = [shelf.held[refs[0].digest]], threading.Event()
        readers = [Reader(in_force, is_over, seed) for seed in range(2)]
        for reader in readers:
            reader.start()
        mark = 0
        while any(reader.reads < READS / 2 for reader in readers):
            assert all(reader.is_alive() for reader in readers)
            mark += 1
            refs = [*refs, publish(publisher, mark)][-HELD:]
            wanted = {ref.digest for ref in refs}
            shelf.load(refs[-1], wanted.__contains__, lambda _: None)
            in_force[0] = shelf.held[refs[-1].digest]
            if mark % 5 == 0:
                in_force[0] = shelf.held[refs[0].digest]  # back to the oldest
            shelf.drop_all_but(wanted)
        is_over.set()
        for reader in readers:
            reader.join()
    assert [reader.mixed for reader in readers] == [0, 0]
    assert all(len(reader.versions) > 20 for reader in readers)
    tables = in_force[0].tables
    assert len(tables["user"].index) <= 3 * USERS, "an epoch ended many times"
