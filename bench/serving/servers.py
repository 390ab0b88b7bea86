"""This server, and what people run today, each as processes of its own.

Peers live in a virtual environment of their own, so that neither side's packages bend the other's.
BentoML and Ray Serve are left out: they answered 244 and 129 requests a second where FastAPI +
uvicorn answered 466, and take a minute of every run.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.serving.processes import running
from bench.serving.publishing import Publisher
from millstream_api.release import Release
from millstream_api.settings import ServerSettings
from millstream_core.store import ModelStore
from millstream_serving.engine.warmup import warm_up
from tests.builders.ports import free_port
from tests.builders.s3_server import s3_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.serving.processes import Server
    from bench.serving.workload import Sizes
    from millstream_api.manifest import VersionRef
    from millstream_api.names import Precision
    from tests.builders.s3_server import S3Server

PEERS: Final = Path(__file__).parent / "peers"
RANK: Final = "/v1/rank"


@dataclass(frozen=True)
class Publication:
    """A model in a real S3 server, whoever publishes it, and the release that servers follow."""

    folder: Path
    s3: S3Server
    publisher: Publisher
    base: VersionRef

    @property
    def release(self) -> Path:
        """The release document."""
        return self.folder / "release.json"

    def answer_with(self, ref: VersionRef) -> None:
        """Have all servers answer everybody with this version."""
        new = self.release.with_suffix(".new")
        new.write_bytes(Release(epoch=ref.version, salt="s", stable=ref).canonical())
        new.replace(self.release)  # whole


@contextmanager
def published(folder: Path, sizes: Sizes) -> Iterator[Publication]:
    """A model of this size, published for our servers."""
    folder.mkdir(parents=True, exist_ok=True)
    with s3_server(folder) as s3:
        publisher = Publisher(ModelStore(s3.objects(), "", "bench"), sizes)
        publication = Publication(folder, s3, publisher, publisher.base())
        publication.answer_with(publication.base)
        yield publication


@contextmanager
def millstream(
    of: Publication, *, threads: int, precision: Precision = "Float32"
) -> Iterator[Server]:
    """This server, with kernels that were compiled before, as where its image is built."""
    warm_up()
    port = free_port()
    settings = of.folder / f"settings-{port}.json"
    settings.write_bytes(
        ServerSettings(
            model="bench",
            store=of.s3.settings,
            release=f"file:{of.release}",
            threads=threads,
            precision=precision,
        ).canonical()
    )
    options = [f"--settings={settings}", "--host=127.0.0.1", f"--port={port}", "--linger=0"]
    variables = {
        "AWS_ACCESS_KEY_ID": of.s3.access_key,
        "AWS_SECRET_ACCESS_KEY": of.s3.secret_key,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    with running(
        "millstream" if precision == "Float32" else f"millstream, {precision}",
        [sys.executable, "-m", "millstream_serving.main", *options],
        port,
        ready="/readyz",
        path=RANK,
        variables=variables,
        folder=of.folder,
    ) as server:
        yield server


@contextmanager
def peer(
    name: str, environment: Path, model: Path, *, workers: int, is_factored: bool = False
) -> Iterator[Server]:
    """One of PEERS_BY_NAME, one torch thread a worker.

    Args:
        name: of the peer.
        environment: virtual environment that it is installed in.
        model: folder of the model's files.
        workers: processes.
        is_factored: whether its model has the cut first attention layer, as ours.
    """
    port, kind = free_port(), PEERS_BY_NAME[name]
    program, *options = kind.command(port, workers)
    with running(
        f"{name}, factored" if is_factored else name,
        [str(environment / "bin" / program), *options],
        port,
        ready=kind.ready,
        path=kind.path,
        variables={"MODEL": str(model), "FACTORED": "1" if is_factored else "0"},
        folder=PEERS,
    ) as server:
        yield server


@dataclass(frozen=True)
class Peer:
    """How another server is run."""

    command: Callable[[int, int], list[str]]  # for a port and so many workers
    ready: str = "/healthz"
    path: str = RANK


def _fastapi(port: int, workers: int) -> list[str]:
    address = ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    return ["uvicorn", "fastapi_app:app", *address, "--no-access-log", "--log-level", "warning"]


def _flask(port: int, workers: int) -> list[str]:
    return ["gunicorn", "flask_app:app", "--bind", f"127.0.0.1:{port}", "--workers", str(workers)]


def _litserve(port: int, workers: int) -> list[str]:
    return ["python", "litserve_app.py", str(port), str(workers)]


def _kserve(port: int, workers: int) -> list[str]:
    return ["python", "kserve_app.py", "--http_port", str(port), "--workers", str(workers)]


PEERS_BY_NAME: Final = {
    "FastAPI + uvicorn": Peer(_fastapi),
    "Flask + gunicorn": Peer(_flask),
    "LitServe": Peer(_litserve),
    "KServe": Peer(_kserve, ready="/v2/health/ready", path="/v1/models/ranker:predict"),
}
