"""`millstream-trainer`: reads its settings, trains until SIGTERM, publishes what is left.

    millstream-trainer --settings settings.json

Credentials of the model store are the environment variables AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY. Exit status: 0 after SIGTERM, 1 when training cannot go on, 2 for settings
that make no sense; the last line on stderr says why.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from pydantic import ValidationError

from millstream_api.names import SETTINGS_PATH, TRAINER_PORT
from millstream_api.settings import TrainerSettings
from millstream_core.kernels import bring_kernels
from millstream_core.store import ModelStore, S3ObjectStore
from millstream_core.telemetry.logs import log_in_json
from millstream_trainer.cpus import training_threads
from millstream_trainer.design import Design
from millstream_trainer.http import Reporter, serve
from millstream_trainer.instruments import Instruments
from millstream_trainer.learner import Diverged
from millstream_trainer.loop import Trainer
from millstream_trainer.publishing.background import BackgroundThread
from millstream_trainer.publishing.jobs import Outcome
from millstream_trainer.publishing.link import StoreLink
from millstream_trainer.publishing.restoring import Restorer
from millstream_trainer.publishing.versions import Fenced, Writer
from millstream_trainer.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_api.reports import Progress
    from millstream_core.store import ObjectStore
    from millstream_core.telemetry.exporting import SpanExporter
    from millstream_trainer.loop import Clock
    from millstream_trainer.publishing.background import Background
    from millstream_trainer.sources.protocol import Source

log = logging.getLogger(__name__)

TRANSFERS: Final = 4  # objects uploaded or downloaded at the same time


class WallClock:
    """Real time, until a signal asks to end."""

    def __init__(self) -> None:
        """Nothing asks yet."""
        self._stop = threading.Event()

    @property
    def is_stopping(self) -> bool:
        """See Clock."""
        return self._stop.is_set()

    def now(self) -> float:
        """See Clock."""
        return time.time()  # noqa: TID251 - the one place where the trainer reads the clock

    def wait(self, seconds: float) -> None:
        """See Clock."""
        self._stop.wait(seconds)

    def stop(self, *_: object) -> None:
        """Ask to end; fit for a signal handler."""
        self._stop.set()


def build_trainer(
    settings: TrainerSettings,
    source: Source,
    objects: ObjectStore,
    clock: Clock,
    instruments: Instruments,
    report: Callable[[Progress], None],
    *,
    background: Background[Outcome],
    worker: str,
    token: str,
    exporter: SpanExporter | None = None,
) -> Trainer:
    """Put the parts together."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    store = ModelStore(objects, settings.store.prefix, settings.model)
    transfers = ThreadPoolExecutor(TRANSFERS, thread_name_prefix="transfer")
    design = Design.of(settings)
    restorer = Restorer(
        store,
        transfers,
        design,
        settings.dense_learning_rate,
        device,
        settings.tables,
        Path(settings.overflow_folder),
    )
    link = StoreLink(
        Writer(store, transfers, design, settings.model, worker, token, _producer()),
        restorer,
        background,
        settings,
        instruments,
        clock.now,
        exporter,
    )
    log.info("model %s, lineage %s, on %s", settings.model, design.lineage(), device)
    return Trainer(settings, source, link, restorer, instruments, clock, worker, report)


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(
        prog="millstream-trainer", description="Train a recommender model on a stream of events."
    )
    parser.add_argument("--settings", type=Path, default=Path(SETTINGS_PATH), metavar="FILE")
    parser.add_argument("--host", default="0.0.0.0", help="address to answer on")  # noqa: S104 - a pod is reached from outside
    parser.add_argument("--port", type=int, default=TRAINER_PORT)
    options = parser.parse_args(arguments)
    lines = log_in_json()
    try:
        settings = _read_settings(options.settings)
        objects = _open_objects(settings)
        clock = WallClock()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, clock.stop)
        bring_kernels()
        torch.set_num_threads(training_threads())
        worker = os.environ.get("POD_NAME", socket.gethostname())
        exporter = _exporter(settings, worker)
        dropped = {"log": lambda: lines.dropped}
        if exporter is not None:
            dropped["trace"] = lambda: exporter.dropped
        instruments = Instruments(dropped)
        reporter = Reporter(instruments)
        _serve(reporter, options.host, options.port)
        trainer = build_trainer(
            settings,
            open_source(settings),
            objects,
            clock,
            instruments,
            reporter.publish,
            background=BackgroundThread[Outcome]("store"),
            worker=worker,
            token=secrets.token_hex(4),
            exporter=exporter,
        )
    except ValueError as error:
        _end(2, str(error))
    try:
        trainer.run()
    except (Diverged, Fenced, MemoryError) as error:
        _end(1, str(error), exporter)
    _end(0, "trained until asked to end", exporter)


def _exporter(settings: TrainerSettings, worker: str) -> SpanExporter | None:
    if settings.tracing is None:
        return None
    # Here alone, for OpenTelemetry takes a quarter of a second to import.
    from millstream_core.telemetry.exporting import SpanExporter  # noqa: PLC0415

    return SpanExporter(
        settings.tracing.endpoint,
        {
            "service.name": "millstream-trainer",
            "service.instance.id": worker,
            "millstream.model": settings.model,
        },
    )


def _read_settings(path: Path) -> TrainerSettings:
    try:
        return TrainerSettings.parse(path.read_bytes())
    except OSError as error:
        raise ValueError(
            f"cannot read the settings {path} ({error.strerror}): name the file with --settings"
        ) from error
    except ValidationError as error:
        raise ValueError(f"the settings {path} are not valid: {error}") from error


def _serve(reporter: Reporter, host: str, port: int) -> None:
    try:
        serve(reporter, host, port)
    except OSError as error:
        raise ValueError(
            f"cannot answer on {host}:{port} ({error.strerror}): choose another --port"
        ) from error


def _open_objects(settings: TrainerSettings) -> ObjectStore:
    try:
        access_key = os.environ["AWS_ACCESS_KEY_ID"]
        secret_key = os.environ["AWS_SECRET_ACCESS_KEY"]
    except KeyError as error:
        raise ValueError(
            f"the model store needs credentials: set the environment variable {error.args[0]}"
        ) from error
    return S3ObjectStore(settings.store, access_key=access_key, secret_key=secret_key)


def _producer() -> str:
    try:
        return f"millstream-trainer/{version('millstream')} torch/{torch.__version__}"
    except PackageNotFoundError:
        return f"millstream-trainer/source torch/{torch.__version__}"


def _end(status: int, message: str, exporter: SpanExporter | None = None) -> None:
    """Leave at once: a transfer that hangs in a thread must not hold up the end."""
    if exporter is not None:
        exporter.close()
    log.log(logging.INFO if status == 0 else logging.ERROR, message)
    logging.shutdown()
    os._exit(status)
