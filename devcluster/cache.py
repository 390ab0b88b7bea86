"""Slow things are made once: named by what goes into them, made aside, moved into place.

An artefact is a folder `<cache>/<kind>/<name>-<version>-<recipe digest>`. It appears by a rename,
so a launcher killed while compiling leaves nothing that looks finished, and a lock makes a second
launcher wait for the first instead of compiling the same thing beside it.
"""

import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devcluster.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A recipe: `make` fills an empty folder; the other fields say when it must be made anew."""

    name: str
    version: str
    title: str
    """What a person reads while waiting, such as "compiling Kubernetes 1.35.4"."""
    seconds: float
    """How long that takes on two cores."""
    sources: tuple[Path, ...]
    """Files that go into it."""
    settings: tuple[str, ...]
    """Flags and the like that go into it."""
    make: Callable[[Path], None]

    @property
    def digest(self) -> str:
        """Changes whenever the result would."""
        return recipe_digest(self.version, self.settings, self.sources)

    def folder(self, cache: Path) -> Path:
        """Where the finished artefact lies."""
        return cache / "built" / f"{self.name}-{self.version}-{self.digest}"


def recipe_digest(version: str, settings: tuple[str, ...], sources: tuple[Path, ...]) -> str:
    """Twelve hexadecimal digits over a version, flags and the names and contents of files."""
    parts = [version.encode(), *(setting.encode() for setting in settings)]
    for source in sorted(sources, key=lambda path: path.name):
        parts += [source.name.encode(), source.read_bytes()]
    # Lengths in front keep ("ab", "c") and ("a", "bc") apart.
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return hashlib.sha256(framed).hexdigest()[:12]


def ensure(artefact: Artefact, cache: Path, progress: Progress) -> Path:
    """The folder of an artefact, made now if it is not there yet.

    Raises:
        DevclusterError: Making it failed.
    """
    finished = artefact.folder(cache)
    if finished.exists():
        return finished
    with lock(cache / "locks" / artefact.name, progress):
        if finished.exists():  # another launcher made it while we waited
            return finished
        aside = finished.with_name(f".{finished.name}.making")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        with progress.step(f"{artefact.title}, once", artefact.seconds):
            artefact.make(aside)
        aside.rename(finished)
    return finished


@contextmanager
def lock(path: Path, progress: Progress) -> Iterator[None]:
    """Holds a lock that other launchers on this machine respect; it goes with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.step(f"waiting for another launcher that holds {path.name}"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
