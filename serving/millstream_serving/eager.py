"""Coroutines that begin at once, and go on where what they wait for is there.

A task of asyncio begins in the next round of its event loop and goes on in the round after; in
each, a thread lets go of the interpreter and waits for it again. A request takes one round to be
read and one to be answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine


def begin(coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
    """Run a coroutine up to where it waits, and on from there whenever it need not any more.

    It may await futures of the loop, turns of its lane, and `asyncio.sleep(0)`; what asks for the
    current task, as time-outs do, cannot be had. What it raises goes to whoever let it go on.

    Args:
        coroutine: to be run.
        loop: the running loop of this thread.
    """

    def go_on(_: object = None) -> None:
        try:
            awaited = coroutine.send(None)
        except StopIteration:
            return
        if awaited is None:
            loop.call_soon(go_on)
        else:
            awaited.add_done_callback(go_on)

    go_on()
