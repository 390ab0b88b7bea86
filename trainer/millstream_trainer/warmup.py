"""Compile every kernel that training uses: `python -m millstream_trainer.warmup`.

Run when the image is built, so that a pod finds its kernels compiled (millstream_core.kernels).
"""

from __future__ import annotations

import numpy as np
import torch

from millstream_api.settings import StoreSettings, SyntheticSource, TrainerSettings
from millstream_api.tables import EmbeddingTableSpec, TablesSpec
from millstream_core.tables.training import Rows, seal
from millstream_trainer.learner import Learner
from millstream_trainer.model import Design, LiveModel
from millstream_trainer.sources.decoding import decode
from millstream_trainer.sources.synthetic import SyntheticStream


def warm_up() -> None:
    """Learn one small batch, take a snapshot of it, and restore the snapshot."""
    source = SyntheticSource(users=50, items=50, start=0.0)
    settings = TrainerSettings(
        model="none",
        store=StoreSettings(bucket="none"),
        synthetic=source,
        embedding_dim=4,
        history_length=3,
        # Between them these need every kernel that some choice of the user does.
        tables=TablesSpec(
            user=EmbeddingTableSpec(served_as="int8", default_row="SharedOov"),
            item=EmbeddingTableSpec(default_row="HashInit"),
        ),
    )
    model = LiveModel.fresh(Design.of(settings), 0.001, torch.device("cpu"))
    learner = Learner(model, sparse_learning_rate=0.05)
    learner.learn(decode(SyntheticStream(source).poll(limit=64, now=60.0).records))
    for table in model.tables.values():
        rows = seal(table.snapshot(whole=True)).snapshot.rows
        # Rows of a version are read-only where they are read: kernels are compiled for that too.
        for array in (rows.keys, *rows.columns.values()):
            array.flags.writeable = False
        table.restore(Rows(np.concatenate([rows.keys]), rows.columns))


if __name__ == "__main__":
    warm_up()
