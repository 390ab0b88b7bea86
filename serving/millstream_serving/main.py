"""Run a model server: `millstream-server [--settings FILE] [--port N]`.

Credentials of the store come as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the name for reports
as POD_NAME, the processors that it may use as CPU_LIMIT. SIGTERM makes it unready, lets requests
finish and exits with 0.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import platform
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop
from pydantic import ValidationError

from millstream_api.names import CPU_LIMIT, SERVER_PORT, SETTINGS_PATH
from millstream_api.settings import ServerSettings
from millstream_core.kernels import bring_kernels
from millstream_core.store import ModelStore, S3ObjectStore
from millstream_core.telemetry.logs import LogLines, log_in_json
from millstream_serving.engine.warmup import warm_up
from millstream_serving.features.store import VersionedHistory
from millstream_serving.http.app import App
from millstream_serving.http.metrics import Metrics
from millstream_serving.http.server import HttpServer
from millstream_serving.loading.loader import Loaded, Loader
from millstream_serving.ranking.lanes import lanes_for, lanes_of
from millstream_serving.releases.following import Follower, follower_for
from millstream_serving.replica import Replica
from millstream_serving.telemetry.parts import Telemetry

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

# Queries, however long they may wait; by the usual budget a lane turns away after a dozen or two.
WAITING_PER_LANE: Final = 64
# Threads that fetch a version run Python too, several of them, and an answer needs the interpreter
# half a dozen times: at the usual 5 ms a turn it came 50 ms late and more while a delta came in.
SWITCH_SECONDS: Final = 0.0005
LINGER_SECONDS: Final = 5.0  # endpoints take about that long to forget a pod


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the program; returns its exit code."""
    lines = log_in_json()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    options = _options(arguments)
    try:
        settings = ServerSettings.parse(options.settings.read_bytes())
        follower = follower_for(settings.release)
        objects = S3ObjectStore(
            settings.store,
            access_key=os.environ["AWS_ACCESS_KEY_ID"],
            secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        )
    except KeyError as error:
        log.error(  # noqa: TRY400 - a person's mistake needs no traceback
            "the environment variable %s is not set: the store needs credentials", error.args[0]
        )
        return 2
    except (OSError, ValidationError, ValueError) as error:
        log.error(  # noqa: TRY400
            "the settings in %s cannot be used: %s", options.settings, error
        )
        return 2
    sys.setswitchinterval(SWITCH_SECONDS)
    store = ModelStore(objects, settings.store.prefix, settings.model)
    started = time.monotonic()
    bring_kernels()
    warm_up()
    # What is there by now stays: a collection that looks through it holds all threads for 0.1 s.
    gc.freeze()
    log.info("kernels are ready after %.1f s", time.monotonic() - started)
    return uvloop.run(_until_told_to_leave(settings, store, follower, options, lines))


async def _until_told_to_leave(
    settings: ServerSettings,
    store: ModelStore,
    follower: Follower,
    options: argparse.Namespace,
    lines: LogLines,
) -> int:
    leave = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave.set)
    try:
        await serve(
            settings, store, follower, options.host, options.port, leave, options.linger, lines
        )
    except OSError as error:
        log.error("%s", error)  # noqa: TRY400
        return 1
    return 0


async def serve(
    settings: ServerSettings,
    store: ModelStore,
    follower: Follower,
    host: str,
    port: int,
    leave: asyncio.Event,
    linger: float = LINGER_SECONDS,
    lines: LogLines | None = None,
) -> None:
    """Serve until told to leave, then drain.

    Args:
        settings: of the RecServing.
        store: its model store.
        follower: of its release.
        host: address to listen on.
        port: to listen on.
        leave: set by whoever wants this replica to go.
        linger: seconds to go on answering after that.
        lines: writes the log, for the metric of what it drops.

    Raises:
        OSError: the port cannot be had.
    """
    loop = asyncio.get_running_loop()
    count = settings.threads or lanes_for(os.environ.get(CPU_LIMIT), os.cpu_count() or 1)
    log.info("threads that answer: %d", count)
    lanes = lanes_of(count, WAITING_PER_LANE, time.monotonic)

    def tell(loaded: Loaded) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(replica.has_loaded, loaded)

    name = os.environ.get("POD_NAME", platform.node())
    telemetry = Telemetry.of(settings, name, stopwatch=time.monotonic, clock=_now)
    if lines is not None:
        telemetry.dropped["log"] = lambda: lines.dropped
    loader = Loader(
        store,
        tell,
        time.monotonic,
        lambda: replica.has_users,
        precision=settings.precision,
    )
    replica = Replica(
        name,
        settings,
        features=VersionedHistory(),
        want=loader.want,
        loop=loop,
        stopwatch=time.monotonic,
        clock=_now,
        version_traces=telemetry.version_traces,
        request_log=telemetry.request_log,
    )
    metrics = Metrics(replica, _now, telemetry.dropped)
    app = App(replica, metrics, time.monotonic, telemetry.request_traces)
    server = HttpServer(app, lanes, host, port, _now)
    loader.start()
    following = loop.create_task(follower.follow(replica.release_read))
    serving = loop.create_task(server.serve())
    leaving = loop.create_task(leave.wait())
    try:
        # The first two never end by themselves: if one did, this replica must be replaced.
        done, _ = await asyncio.wait(
            {following, serving, leaving}, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            task.result()
        log.info("leaving: answering for %.1f s more", linger)
        replica.drain()
        await server.drain(linger)
        await serving
    finally:
        following.cancel()
        leaving.cancel()
        loader.stop()
        telemetry.close()


def _now() -> float:
    return time.time()  # noqa: TID251 - the shell's clock


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="millstream-server", description=__doc__)
    parser.add_argument("--settings", type=Path, default=Path(SETTINGS_PATH))
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104 - a pod is reached from outside
    parser.add_argument("--port", type=int, default=SERVER_PORT)
    parser.add_argument(
        "--linger",
        type=float,
        default=LINGER_SECONDS,
        help="seconds to go on answering after SIGTERM",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
