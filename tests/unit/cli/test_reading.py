"""Reading a version for its census: nothing is changed, nothing wrong is counted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from millstream_cli.tables.reading import Reader, VersionContents, read_contents
from millstream_core.census import Question
from millstream_core.store import AccessDenied, IntegrityError, ModelStore
from millstream_core.upkeep.compaction import compact
from tests.builders.objects import CountedObjects, MemoryObjects
from tests.builders.upkeep import make_chain, make_compactor, point

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from millstream_api.manifest import VersionRef
    from millstream_core.store import ObjectStore, Stored

NAMES = ("history", "item", "user")


class ReadOnlyObjects(CountedObjects):
    """A store whose credentials may read alone, once `is_closed`."""

    is_closed = False

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        if self.is_closed:
            raise AccessDenied("the store refuses to write")
        return super().put(key, data, if_absent=if_absent, if_match=if_match)


class WatchedObjects(MemoryObjects):
    """Notes which leases there are while rows are read."""

    def __init__(self) -> None:
        super().__init__()
        self.leases: list[bytes] = []

    def get(self, key: str, at_most: int | None = None) -> Stored:
        if "/data/" in key:
            found = [key for key in self.objects if "/lease/" in key]
            self.leases += [self.objects[key].data for key in found]
        return super().get(key, at_most)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def read(
    objects: ObjectStore, pool: ThreadPoolExecutor, ref: VersionRef, names: Iterable[str] = NAMES
) -> VersionContents:
    store = ModelStore(objects, "models", "shop")
    reader = Reader(store, pool, "r1")
    return read_contents(reader, ref, tuple(names), Question(60.0, 5))


def test_a_chain_adds_up_to_the_rows_of_its_version(pool: ThreadPoolExecutor) -> None:
    objects = MemoryObjects()
    publisher, refs = make_chain(objects, 3)
    contents = read(objects, pool, refs[-1])
    assert {table.table: table.rows for table in contents.tables} == {
        name: len(table) for name, table in publisher.tables.items()
    }
    user = contents.tables[2]
    assert user.touched == 10
    assert (contents.fetched.legs, contents.version, contents.kind) == (4, 3, "delta")
    assert contents.as_of == 1e9 + 3


def test_the_version_is_leased_while_it_is_read_and_nothing_else_changes(
    pool: ThreadPoolExecutor,
) -> None:
    objects = WatchedObjects()
    _, refs = make_chain(objects, 1)
    before = dict(objects.objects)
    objects.leases.clear()
    read(objects, pool, refs[-1])
    assert objects.leases
    assert all(refs[-1].digest.encode() in lease for lease in objects.leases)
    assert objects.objects == before


def test_who_may_only_read_reads_without_a_lease(pool: ThreadPoolExecutor) -> None:
    objects = ReadOnlyObjects()
    _, refs = make_chain(objects, 1)
    objects.is_closed = True
    assert read(objects, pool, refs[-1]).tables[2].rows > 0


def test_what_is_said_to_be_read_is_what_was_read(pool: ThreadPoolExecutor) -> None:
    objects = CountedObjects()
    publisher, refs = make_chain(objects, 2)
    objects.bytes_read = 0
    list(publisher.store.ancestry(refs[-1]))
    fetched = read(objects, pool, refs[-1]).fetched.bytes
    documents = sum(
        len(objects.objects[key].data)
        for key in objects.objects
        if any(part in key for part in ("/manifest/", "/commit/"))
    )
    assert fetched <= objects.bytes_read <= fetched + 2 * documents
    only = read(objects, pool, refs[-1], ["item"])
    assert [table.table for table in only.tables] == ["item"]
    assert only.fetched.bytes < fetched


def test_shortcuts_are_taken_and_where_one_fails_the_steps_are(pool: ThreadPoolExecutor) -> None:
    """R17, for a person who looks."""
    objects = MemoryObjects()
    publisher, refs = make_chain(objects, 9)
    point(publisher, "latest", refs[-1])
    by_steps = read(objects, pool, refs[-1])
    made = compact(make_compactor(publisher), refs[-1])
    assert any(each.since is None for each in made)
    compacted = read(objects, pool, refs[-1])
    assert (by_steps.fetched.legs, compacted.fetched.legs) == (10, 1)
    assert compacted.tables == by_steps.tables
    for key in [key for key in objects.objects if "/data/9-merged" in key]:
        objects.damage(key, lambda data: data[:-1] + b"?")
    assert read(objects, pool, refs[-1]).fetched == by_steps.fetched


def test_rows_that_do_not_add_up_are_not_counted(
    pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    """R20: a manifest that promises another state than its rows have."""
    objects = MemoryObjects()
    publisher, _ = make_chain(objects, 0)
    ref = publisher.publish(
        change=lambda manifest: manifest.changed(
            tables=manifest.tables
            | {"user": manifest.tables["user"].changed(digest_after="0" * 31 + "1")}
        )
    )
    with pytest.raises(IntegrityError, match="table user adds up to"):
        read(objects, pool, ref)
    assert "going by steps" not in caplog.text  # which it did
    assert not [key for key in objects.objects if "/lease/" in key]
