"""R12: sixteen writers race for each version number on a real S3 server."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import pytest

from millstream_core.store import ModelStore, VersionTaken
from tests.builders.manifests import make_manifest
from tests.builders.s3_server import s3_server

if TYPE_CHECKING:
    from pathlib import Path

    from millstream_api.manifest import VersionRef

pytestmark = pytest.mark.integration

WRITERS: Final = 16
ROUNDS: Final = 500 if os.environ.get("MILLSTREAM_LONG") else 50


@pytest.mark.timeout(900)
def test_each_number_has_one_winner_whom_everybody_names(tmp_path: Path) -> None:
    """Each with a client of its own; no loser changes anything, and each is told who won."""
    with s3_server(tmp_path) as server, ThreadPoolExecutor(WRITERS) as pool:
        stores = [ModelStore(server.objects(), "", "shop") for _ in range(WRITERS)]
        start = threading.Barrier(WRITERS)
        winners: list[VersionRef] = []

        def race(me: int) -> tuple[bool, VersionRef]:
            manifest = make_manifest(len(winners) + 1, writer=f"writer {me}")
            start.wait(timeout=60)
            try:
                return True, stores[me].commit(manifest)
            except VersionTaken as taken:
                return False, taken.existing

        for number in range(1, ROUNDS + 1):
            results = list(pool.map(race, range(WRITERS)))
            [winner] = [ref for has_won, ref in results if has_won]
            assert {ref for _, ref in results} == {winner}
            assert stores[number % WRITERS].manifest(winner).ref() == winner
            winners.append(winner)
        fresh = ModelStore(server.objects(), "", "shop")
        assert fresh.commits(winners[0].lineage) == list(range(1, ROUNDS + 1))
        assert [fresh.resolve(ref.lineage, ref.version) for ref in winners] == winners
        # Not one writer alone, or there was no race.
        assert len({fresh.manifest(ref).writer for ref in winners}) > 1
