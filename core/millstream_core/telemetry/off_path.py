"""Work that somebody else should not wait for: a bounded queue, and a thread that empties it.

    put ──► queue, `room` items ──► thread: everything that waits, as one batch ──► do
      └──► full: dropped, counted

Whoever puts something in is never blocked, whatever the thread is held up by: a pipe that nobody
reads, a collector that does not answer.
"""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MOST_TOGETHER: Final = 512  # items in one batch


class OffPath(Generic[T]):
    """Hands items to a function on a thread of its own."""

    def __init__(
        self, name: str, do: Callable[[list[T]], None], *, room: int, gather: float = 0.0
    ) -> None:
        """Start the thread.

        Args:
            name: of the thread.
            do: called there with what waits; what it raises loses that batch and nothing else.
            room: items that may wait.
            gather: seconds to wait for more after the first item of a batch.
        """
        self.dropped = 0  # items that were not done, for want of room or because `do` failed
        self._do = do
        self._room = room
        self._gather = gather
        # Not queue.Queue: a log line may be written by a destructor that the garbage collector
        # runs inside `put` of the same thread, and only this one's can be entered twice.
        self._waiting: SimpleQueue[T | threading.Event] = SimpleQueue()
        self._counting = threading.Lock()
        self._is_closing = threading.Event()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def put(self, item: T) -> None:
        """Have an item done soon, or dropped where too many wait; never waits. Any thread may."""
        if self._waiting.qsize() >= self._room or self._is_closing.is_set():
            self._drop(1)
        else:
            self._waiting.put(item)

    def flush(self, seconds: float) -> None:
        """Wait until what waits now has been done, for at most so many seconds."""
        reached = threading.Event()
        self._waiting.put(reached)
        reached.wait(seconds)

    def close(self, seconds: float) -> None:
        """Take nothing more, and give what waits so many seconds to be done."""
        self._is_closing.set()
        self.flush(seconds)

    def _work(self) -> None:
        while True:
            batch, reached = self._next_batch()
            if batch:
                try:
                    self._do(batch)
                except Exception:  # noqa: BLE001 - nobody is there to be told; the count tells
                    self._drop(len(batch))
            if reached is not None:
                reached.set()
                if self._is_closing.is_set():
                    return

    def _next_batch(self) -> tuple[list[T], threading.Event | None]:
        """What waits, once something does; with whoever waits for it to be done."""
        batch: list[T] = []
        item = self._waiting.get()
        if self._gather and not isinstance(item, threading.Event):
            self._is_closing.wait(self._gather)
        try:
            while not isinstance(item, threading.Event):
                batch.append(item)
                if len(batch) == MOST_TOGETHER:
                    return batch, None
                item = self._waiting.get_nowait()
        except Empty:
            return batch, None
        return batch, item

    def _drop(self, count: int) -> None:
        with self._counting:
            self.dropped += count
