"""What it costs and saves to keep rows in fewer bytes: memory, scoring time, and what scores lose.

A model is trained for a while on the generator; then the same weights and rows are served in each
form, side by side. AUC is over events that the model has not learned from.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from demo.report import Row, at_most
from millstream_api.manifest import Column, DefaultRow, Dtype
from millstream_api.settings import StoreSettings, SyntheticSource, TrainerSettings
from millstream_core.evaluation import area_under_curve
from millstream_core.features import PAD
from millstream_core.tables.encoding import encode
from millstream_core.tables.versioned import TableVersion, VersionedTable
from millstream_serving.engine.networks import Weights, prepare
from millstream_serving.engine.rows import StoredRows, rows_of
from millstream_serving.engine.scoring import Scratch, score, scratch_for
from millstream_trainer.design import Design
from millstream_trainer.learner import Learner
from millstream_trainer.model import LiveModel
from millstream_trainer.sources.decoding import EventBatch, decode
from millstream_trainer.sources.synthetic import SyntheticStream

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMS: Final[tuple[Dtype, ...]] = ("float32", "float16", "int8rows")
EVENTS: Final = 20_000  # learned
JUDGED: Final = 4_000  # scored after that
ROUNDS: Final = 20
CANDIDATES: Final = 100
NO_KEYS: Final = np.empty(0, np.int64)


@dataclass(frozen=True)
class Served:
    """A model's rows in one form, and its weights."""

    weights: Weights
    scratch: Scratch
    versions: dict[str, TableVersion]
    rows: dict[str, StoredRows]

    def logits(
        self, user: int, items: NDArray[np.int64], history: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """What a server answers."""
        asking, found = np.array([user], np.int64), np.empty(len(items), np.float32)
        users, known = self.versions["user"], self.versions["item"]
        score(
            self.weights,
            self.rows["user"],
            asking,
            users.slots(asking),
            self.rows["item"],
            items,
            known.slots(items),
            history,
            known.slots(history),
            self.scratch,
            found,
        )
        return found


def served_forms() -> list[Row]:
    """Each form against float32, all measured in turns."""
    model, judged = _trained()
    served = {form: _served(model, form) for form in FORMS}
    histories = _histories(model, judged)
    logits = {
        form: np.array(
            [
                each.logits(int(user), np.array([item]), history)[0]
                for user, item, history in zip(judged.user, judged.item, histories, strict=True)
            ]
        )
        for form, each in served.items()
    }
    spent = _times(served, judged, histories)
    exact, spread = logits["float32"], float(logits["float32"].std())
    auc = {form: area_under_curve(found, judged.label) or 0.0 for form, found in logits.items()}
    rows = [
        Row(what="AUC of float32 rows", value=auc["float32"], unit=""),
        Row(
            what="100 candidates × 50 history, float32 rows",
            value=spent["float32"] * 1e3,
            unit="ms",
            runs=ROUNDS,
        ),
    ]
    for form in FORMS[1:]:
        drift = float(np.abs(logits[form] - exact).max()) / spread
        size = _bytes(served[form]) / _bytes(served["float32"])
        ratio = spent[form] / spent["float32"]
        rows += [
            Row(what=f"memory of {form} rows", value=size, unit="×", against="float32", ratio=size),
            Row(
                what=f"scoring time of {form} rows",
                value=spent[form] * 1e3,
                unit="ms",
                against="float32",
                ratio=ratio,
                runs=ROUNDS,
            ),
            Row(what=f"largest drift of a logit, {form} rows", value=drift, unit="std"),
            at_most(f"AUC lost by {form} rows", auc["float32"] - auc[form], 1e-4, ""),
        ]
    return rows


def _trained() -> tuple[LiveModel, EventBatch]:
    source = SyntheticSource(start=0.0, seed=3, events_per_second=1e5)
    settings = TrainerSettings(model="bench", store=StoreSettings(bucket="none"), synthetic=source)
    model = LiveModel.fresh(Design.of(settings), 0.001, torch.device("cpu"))
    learner, stream = Learner(model, sparse_learning_rate=0.05), SyntheticStream(source)
    while model.events < EVENTS:
        learner.learn(decode(stream.poll(settings.batch_size, 1e6).records))
    return model, decode(stream.poll(JUDGED, 1e6).records)


def _served(model: LiveModel, form: Dtype) -> Served:
    versions, rows = {}, {}
    for name in ("user", "item"):
        live = model.tables[name].snapshot(whole=True).rows
        width = live.columns["rows"].shape[1]
        table = VersionedTable({"rows": Column(dtype=form, width=width, group="serve")}, 1 << 16)
        stored = {"rows": encode(live.columns["rows"], form)}
        versions[name] = table.load(None, live.keys, stored, NO_KEYS, whole=True)
        rows[name] = rows_of(versions[name], DefaultRow())
    architecture = model.design.architecture
    weights = prepare(architecture, model.network.tensors())
    return Served(weights, scratch_for(weights, architecture.history_length), versions, rows)


def _histories(model: LiveModel, judged: EventBatch) -> list[NDArray[np.int64]]:
    table = model.tables["history"]
    slots = table.slots(judged.user)
    rows = [table.values("items")[slot] if slot >= 0 else NO_KEYS for slot in slots]
    return [row[row != PAD] for row in rows]


def _times(
    served: dict[Dtype, Served], judged: EventBatch, histories: list[NDArray[np.int64]]
) -> dict[Dtype, float]:
    """Median seconds of one request of CANDIDATES with a full history, by form."""
    full = [i for i, history in enumerate(histories) if len(history) >= 50]
    asked = [(int(judged.user[i]), histories[i]) for i in full[:10]]
    items = np.unique(judged.item)[:CANDIDATES]
    spent: dict[Dtype, list[float]] = {form: [] for form in served}
    for _ in range(ROUNDS):
        for form, each in served.items():
            began = time.perf_counter()
            for user, history in asked:
                each.logits(user, items, history)
            spent[form].append((time.perf_counter() - began) / len(asked))
    return {form: median(times) for form, times in spent.items()}


def _bytes(served: Served) -> int:
    """Of the rows alone; maps of slots are the same in each form."""
    return sum(
        version.rows * version.table.values("rows")[0].nbytes
        for version in served.versions.values()
    )
