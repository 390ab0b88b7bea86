"""Compile every kernel that training uses: `python -m millstream_trainer.warmup`.

Run when the image is built, so that a pod finds its kernels compiled (millstream_core.kernels).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import torch

from millstream_api.features import FeatureSpec
from millstream_api.manifest import MultiHash
from millstream_api.settings import StoreSettings, SyntheticSource, TrainerSettings
from millstream_api.tables import TablesSpec
from millstream_core.features import ContextFeatures
from millstream_core.tables.lifecycle import SWEEP_STEPS
from millstream_core.tables.multihash import row_keys
from millstream_core.tables.placement import exchanges
from millstream_core.tables.snapshots import seal
from millstream_trainer.design import Design
from millstream_trainer.learner import Learner
from millstream_trainer.model import LiveModel
from millstream_trainer.sources.decoding import decode
from millstream_trainer.sources.synthetic import SyntheticStream

# Between them these need every kernel that some choice of the user does.
RULES: Final = TablesSpec.model_validate(
    {
        "user": {
            "admission": {"countMin": {"threshold": 1, "width": 16}},
            "eviction": {"ttl": {"seconds": 1}, "lfu": {"capacity": 4}},
            "servedAs": "int8",
            "defaultRow": "SharedOov",
        },
        "item": {
            "admission": {"probabilistic": {"probability": 0.5}},
            "eviction": {"l2": {"threshold": 0.1}},
            "defaultRow": "HashInit",
        },
    }
)
FEATURES: Final = (
    FeatureSpec.model_validate({"name": "device", "hash": {"buckets": 2}}),
    FeatureSpec.model_validate({"name": "hour", "normalise": {"min": 0, "max": 23}}),
)


def warm_up() -> None:
    """Learn small batches under all rules, take snapshots of it, and restore them."""
    source = SyntheticSource(users=50, items=50, start=0.0)
    settings = TrainerSettings(
        model="none",
        store=StoreSettings(bucket="none"),
        synthetic=source,
        embedding_dim=4,
        history_length=3,
        features=FEATURES,
        tables=RULES,
    )
    model = LiveModel.fresh(Design.of(settings), 0.001, torch.device("cpu"), RULES)
    learner = Learner(model, sparse_learning_rate=0.05)
    features = ContextFeatures(FEATURES)
    stream = SyntheticStream(source)
    for _ in range(2 * SWEEP_STEPS):
        learner.learn(decode(stream.poll(limit=64, now=600.0).records, features))
    row_keys(np.arange(2), MultiHash(tables=2, rows=8, seed=0))
    for table in model.tables.values():
        first, second, *_ = table.all_slots()
        table.exchange(np.array([first], np.int32), np.array([second], np.int32))
        exchanges(table, since_step=0)
        rows = seal(table.snapshot(whole=True)).snapshot.rows
        # Rows of a version are read-only where they are read: kernels are compiled for that too.
        for array in (rows.keys, rows.gone, *rows.columns.values()):
            array.flags.writeable = False
        table.restore(rows)
        table.restore(replace(rows, keys=np.concatenate([rows.keys])))  # of several shards


if __name__ == "__main__":
    warm_up()
