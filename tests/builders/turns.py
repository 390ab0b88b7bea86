"""Turns of a lane as futures, for tests that wait in tasks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_serving.ranking.lanes import Lane, Turn


def submitted(lane: Lane, job: Callable[..., Any], **options: Any) -> asyncio.Future[Any]:
    """What `lane.submit` gives, to be awaited in a task on the lane's thread."""
    future: asyncio.Future[Any] = lane.loop.create_future()

    def over(turn: Turn[Any]) -> None:
        try:
            future.set_result(turn.result())
        except Exception as error:  # noqa: BLE001 - the job's own
            future.set_exception(error)

    lane.submit(job, **options).add_done_callback(over)
    return future
