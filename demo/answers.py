"""What users got: one record per request, and what can be read off many of them.

Pure: the story appends, `measures` computes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millstream_core.features import Context


@dataclass(frozen=True)
class Question:
    """A request and, for `rank`, the event that it is about."""

    kind: str  # rank | recommend
    user: int
    item: int = 0
    history: tuple[int, ...] = ()
    label: int = 0
    context: Context = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What came back, or did not."""

    question: Question
    sent: float  # Unix seconds
    received: float
    status: int  # 0: no answer at all
    version: int | None = None
    batch: int | None = None
    score: float | None = None  # of the event's item
    complaint: str = ""

    @property
    def failed(self) -> bool:
        """Whether the user did not get what they asked for."""
        return self.status != 200


@dataclass
class Log:
    """All answers so far, in the order in which they came."""

    answers: list[Answer] = field(default_factory=list)

    def add(self, answer: Answer) -> None:
        """Take in the newest answer."""
        self.answers.append(answer)

    def before(self, time: float) -> Log:
        """The answers received before this moment."""
        return Log([answer for answer in self.answers if answer.received < time])

    @property
    def failures(self) -> list[Answer]:
        """Requests that were not answered as they should."""
        return [answer for answer in self.answers if answer.failed]

    def by_version(self, since: float = 0.0) -> Counter[int]:
        """How many answers each version gave."""
        return Counter(
            answer.version
            for answer in self.answers
            if answer.version is not None and answer.received >= since
        )

    def first_at_least(self, version: int) -> float | None:
        """When the first user got this version or a newer one."""
        return min(
            (a.received for a in self.answers if a.version is not None and a.version >= version),
            default=None,
        )

    def last_older_than(self, version: int) -> float | None:
        """When the last user got an older one."""
        return max(
            (a.received for a in self.answers if a.version is not None and a.version < version),
            default=None,
        )

    def last_of(self, version: int) -> float | None:
        """When the last user got exactly this version."""
        return max((a.received for a in self.answers if a.version == version), default=None)
