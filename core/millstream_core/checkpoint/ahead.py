"""Reading what comes next while what came before is worked on, and no further than that.

A chain of deltas is applied in order, but nothing keeps its files from being fetched earlier: the
network is busy while the processor is. The bound keeps a long chain from filling the memory.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from concurrent.futures import Executor, Future

T = TypeVar("T")

AHEAD: Final = 2  # reads that are begun before their turn


def read_ahead(reads: Iterable[Callable[[], T]], threads: Executor) -> Generator[T]:
    """The results of these reads in order, each begun up to AHEAD turns before its own.

    What a read raises is raised at its turn. Whoever stops early closes the iterator: reads that
    have not begun then never do.

    Args:
        reads: each fetches one thing.
        threads: begin them in order; not the pool that they themselves fetch with, or they would
            wait for each other.
    """
    waiting: deque[Future[T]] = deque()
    try:
        for read in reads:
            waiting.append(threads.submit(read))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
