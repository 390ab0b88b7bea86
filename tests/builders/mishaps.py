"""One process's connection to a store, and what can happen at any one of its calls."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from millstream_core.store import StoreUnavailable
from tests.builders.trainer import Killed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from millstream_core.store import Listed, ObjectStore, Stored

T = TypeVar("T")
How = Literal[
    "dies before", "dies after", "fails", "loses the reply", "is away from then on", "others act"
]


@dataclass(frozen=True)
class Mishap:
    """What happens at a process's n-th call from now, of those about certain keys."""

    call: int
    how: How
    about: str = ""  # part of their keys
    meanwhile: Callable[[], None] = lambda: None  # what others do right before the call


class Connection:
    """An ObjectStore over another one, to which a mishap may happen."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._mishap: Mishap | None = None
        self._calls = 0
        self._is_dead = False

    def expect(self, mishap: Mishap | None) -> None:
        """Have this happen, and nothing that was expected before."""
        self._mishap, self._calls = mishap, 0

    def get(self, key: str, at_most: int | None = None) -> Stored:
        return self._call(key, lambda: self._objects.get(key, at_most))

    def put(self, key: str, data: bytes, **conditions: Any) -> str:
        return self._call(key, lambda: self._objects.put(key, data, **conditions))

    def list(self, prefix: str) -> Iterator[Listed]:
        return self._call(prefix, lambda: self._objects.list(prefix))

    def delete(self, key: str) -> None:
        self._call(key, lambda: self._objects.delete(key))

    def _call(self, key: str, call: Callable[[], T]) -> T:
        if self._is_dead:
            raise Killed
        mishap = self._mishap
        if mishap is None or mishap.about not in key:
            return call()
        self._calls += 1
        if self._calls < mishap.call:
            return call()
        is_first = self._calls == mishap.call
        match mishap.how:
            case "dies before" | "dies after":
                self._is_dead = True
                if mishap.how == "dies after":
                    call()
                raise Killed
            case "is away from then on":
                raise StoreUnavailable("away")
            case "fails" if is_first:
                raise StoreUnavailable("away")
            case "loses the reply" if is_first:
                call()
                raise StoreUnavailable("the reply was lost")
            case "others act" if is_first:
                mishap.meanwhile()
        return call()


class Inline(Executor):
    """Runs each job when it is submitted, so that calls come in one order whenever repeated."""

    def __init__(self, *_: object, **__: object) -> None:
        """Takes what other executors take."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            done.set_exception(error)
        return done
