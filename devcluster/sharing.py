"""One full cluster for all end-to-end tests of a session.

@pytest.fixture(scope="session")
def cluster():
    if reason := why_no_cluster():
        pytest.skip(reason)
    with shared_cluster() as shared:
        yield shared
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from devcluster import host
from devcluster.commands import DevclusterError
from devcluster.progress import Progress
from devcluster.providers import Provider, Status, chosen, open_provider


@dataclass(frozen=True)
class Shared:
    """A running full cluster: where it is, and the provider for loading images."""

    status: Status
    provider: Provider


def why_no_cluster() -> str | None:
    """Why no full cluster can be had here, for skipping tests; none if one can."""
    try:
        return host.obstacle() if chosen().name == "own" else None
    except DevclusterError as error:
        return str(error)


@contextmanager
def shared_cluster(progress: Progress | None = None) -> Iterator[Shared]:
    """The full cluster, brought up if it is not; one that ran before is left running.

    Raises:
        DevclusterError: It could not be brought up; the message says why.
    """
    provider = open_provider("full", progress or Progress())
    found_running = provider.status().running
    try:
        yield Shared(provider.up(), provider)
    finally:
        if not found_running:
            provider.down(purge_images=False)
