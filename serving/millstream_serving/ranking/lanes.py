"""Lanes: threads that each read requests, score them one after the other and answer them.

    requests ──► event loop of a lane ──► jobs, in turn ──► kernel (no GIL) ──► answers
                                            └── another lane has far fewer: it takes this one

A request stays on one thread: each hand-over wakes another one, which then waits for the
interpreter (see docs/log.md for what that took). Between two jobs a lane looks at all of its
sockets, so what cannot be done in time is refused while it is fresh.

A queue longer than a user's patience only makes every answer late, so a job is turned away at once,
and the caller may try another replica, where as many wait as may wait, or where its turn is not
expected within two thirds of the time to its deadline: what is expected is what turns took lately,
and a job that waits in vain is worse than one that never waited. One whose turn comes after its
deadline all the same is not done: nobody waits for it any more, but others behind it do.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import uvloop

from millstream_serving.engine.versions import ScratchPad

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

# A request holds the interpreter for a tenth of its time: more lanes would wait for each other.
MOST: Final = 8
RECENT: Final = 1 / 32  # weight of the last turn in how long turns take
MARGIN: Final = 1.5  # how many times longer than expected a turn may take to come
# A job goes to another lane where so many fewer wait: by one, it would not have its turn earlier.
FEWER: Final = 2

Result = TypeVar("Result")
Job = Callable[[ScratchPad], Any]


class Busy(Exception):  # noqa: N818 - named for what is the case
    """More jobs wait than may wait, or than can be done in time."""


class TooLate(Exception):  # noqa: N818
    """The job's turn came after its deadline."""


class Turn(Generic[Result]):
    """A job in a lane's queue; may be awaited, once, by what `millstream_serving.eager` runs."""

    def __init__(
        self, job: Callable[[ScratchPad], Result], deadline: float, asked_by: Lane
    ) -> None:
        """Not taken yet."""
        self.job = job
        self.deadline = deadline
        self.asked_by = asked_by
        self._is_over = False
        self._result: Result
        self._error: Exception | None = None
        self._go_on: Callable[[Turn[Result]], object] | None = None

    def __await__(self) -> Generator[Turn[Result], None, Result]:
        """Wait until the job is over; then as `result`."""
        if not self._is_over:
            yield self
        return self.result()

    def result(self) -> Result:
        """What the job returned, of one that is over; raises what it raised, or TooLate."""
        if self._error is not None:
            raise self._error
        return self._result

    def add_done_callback(self, go_on: Callable[[Turn[Result]], object]) -> None:
        """Have this called once the job is over, on the thread of the lane that was asked."""
        self._go_on = go_on

    def take(self, pad: ScratchPad) -> None:
        """Do the job."""
        try:
            self._result = self.job(pad)
        except Exception as raised:  # noqa: BLE001 - handed to whoever waits
            self._error = raised

    def give_up(self) -> None:
        """Do not: it is too late."""
        self._error = TooLate()

    def end(self) -> None:
        """Tell whoever waits; on the thread of the lane that was asked."""
        self._is_over = True
        if self._go_on is not None:
            self._go_on(self)


class Lane:
    """An event loop and the jobs that wait for its thread; methods are called on that thread."""

    def __init__(self, waiting: int, stopwatch: Callable[[], float]) -> None:
        """Have a loop that nobody runs yet, and no other lanes; see `lanes_of`.

        Args:
            waiting: jobs that may be undone at a time.
            stopwatch: seconds of the clock that deadlines are of.
        """
        self.loop = uvloop.new_event_loop()
        self.all: Sequence[Lane] = (self,)
        self._waiting = waiting
        self._stopwatch = stopwatch
        self._seconds = 0.0  # that a turn took lately, with all that is done between two
        self._since = 0.0  # when the turn before was over, or when there was one to take again
        self.turns: deque[Turn[Any]] = deque()  # any lane appends
        self._has_next = False  # a turn is scheduled
        self._pad = ScratchPad()

    def submit(
        self, job: Callable[[ScratchPad], Result], deadline: float = math.inf
    ) -> Turn[Result]:
        """Have a job done, here or by a lane where far fewer wait.

        Args:
            job: what to do.
            deadline: on the stopwatch; where its turn comes later, the result is TooLate.

        Raises:
            Busy: at once, where there is no room.
        """
        if not self.has_room(deadline):
            raise Busy
        lane = self._least_busy()
        turn = Turn(job, deadline, self)
        lane.turns.append(turn)
        if lane is self:
            self.schedule()
        else:
            lane.loop.call_soon_threadsafe(lane.schedule)
        return turn

    def has_room(self, deadline: float) -> bool:
        """Whether a job with this deadline would not be turned away.

        None is that would not have to wait, so after a stall it is learned anew what jobs take.
        """
        lane = self._least_busy()
        ahead = len(lane.turns)
        late = MARGIN * ahead * self._seconds
        return ahead < self._waiting and self._stopwatch() + late <= deadline

    def schedule(self) -> None:
        """Have the next turn taken soon."""
        if not self._has_next and self.turns:
            self._has_next, self._since = True, self._stopwatch()
            # In the next round of the loop: before that, the answer to the last job is sent, and
            # what has come meanwhile is read.
            self.loop.call_soon(self._take_turn)

    def _least_busy(self) -> Lane:
        if len(self.turns) < FEWER:
            return self
        other = min(self.all, key=lambda lane: len(lane.turns))
        return other if len(other.turns) + FEWER <= len(self.turns) else self

    def _take_turn(self) -> None:
        turn = self.turns[0]  # others see it wait until it is done
        if self._stopwatch() > turn.deadline:
            turn.give_up()
        else:
            turn.take(self._pad)
            # What is read, refused and sent between two turns delays the next one as well: of an
            # overloaded lane that is more than the jobs.
            self._seconds += RECENT * (self._stopwatch() - self._since - self._seconds)
        self.turns.popleft()
        self._has_next = False
        self.schedule()
        if turn.asked_by is self:
            turn.end()
        elif not turn.asked_by.loop.is_closed():  # only when the process is about to end
            turn.asked_by.loop.call_soon_threadsafe(turn.end)


def lanes_for(limit: str | None, processors: int) -> int:
    """How many lanes there should be: one for each processor, up to MOST.

    A lane more than a limit allows for would use up its share of each tenth of a second before the
    others, and then all would stand still (cfs bandwidth control; docs/log.md has what that took).

    Args:
        limit: whole processors that the pod may use, if it was told.
        processors: of the machine.
    """
    return min(MOST, int(limit) if limit else processors)


def lanes_of(count: int, waiting: int, stopwatch: Callable[[], float]) -> tuple[Lane, ...]:
    """Lanes that know each other.

    Args:
        count: how many.
        waiting: jobs that may be undone in each at a time.
        stopwatch: seconds of the clock that deadlines are of.
    """
    lanes = tuple(Lane(waiting, stopwatch) for _ in range(count))
    for lane in lanes:
        lane.all = lanes
    return lanes
