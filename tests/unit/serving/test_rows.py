"""Rows as the scoring kernel reads them: every stored form, and every row for unknown keys."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from millstream_api.manifest import Column, DefaultRow, MultiHash
from millstream_core.features import PAD
from millstream_core.tables.defaults import draw_rows
from millstream_core.tables.encoding import decode, encode
from millstream_core.tables.versioned import VersionedTable
from millstream_serving.engine.rows import StoredRows, gather, rows_of

FORMS = ["float32", "float16", "int8rows"]
WIDTH = 7
KNOWN = np.array([PAD, -5, 3, 2**62], np.int64)
LIVE = (np.random.default_rng(2).standard_normal((4, WIDTH)) * 0.3).astype(np.float32)
NO_KEYS = np.empty(0, np.int64)


def bits(rows: NDArray[np.float32]) -> list[list[int]]:
    return rows.view(np.uint32).tolist()


def version_of(dtype, default, keys=KNOWN, live=LIVE):
    table = VersionedTable({"rows": Column(dtype=dtype, width=WIDTH, group="serve")}, 1 << 10)
    version = table.load(None, keys, {"rows": encode(live, dtype)}, NO_KEYS, whole=True)
    return version, rows_of(version, default)


def read(version, rows: StoredRows, *keys: int) -> NDArray[np.float32]:
    asked = np.array([0, *keys], np.int64)  # the kernel starts where it is told to
    out = np.full((len(keys), WIDTH), np.nan, np.float32)
    gather(rows, asked, version.slots(asked), 1, len(keys), out)
    return out


@pytest.mark.parametrize("dtype", FORMS)
def test_a_row_is_read_as_it_decodes(dtype):
    version, rows = version_of(dtype, DefaultRow())
    expected = decode(encode(LIVE, dtype), dtype)
    assert bits(read(version, rows, -5, 3, 2**62)) == bits(expected[1:])
    assert bits(version.gather("rows", KNOWN)) == bits(expected)


def test_every_float16_is_read_as_it_decodes():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    table = VersionedTable({"rows": Column(dtype="float16", width=1 << 10, group="serve")}, 1 << 10)
    keys = np.arange(64, dtype=np.int64)
    stored = every.reshape(64, 1 << 10)
    version = table.load(None, keys, {"rows": stored}, NO_KEYS, whole=True)
    out = np.empty(stored.shape, np.float32)
    gather(rows_of(version, DefaultRow()), keys, version.slots(keys), 0, 64, out)
    np.testing.assert_array_equal(out, decode(stored, "float16"))


@pytest.mark.parametrize("dtype", FORMS)
def test_by_default_unknown_keys_read_as_zeros(dtype):
    """R3."""
    version, rows = version_of(dtype, DefaultRow())
    assert bits(read(version, rows, 99)) == bits(np.zeros((1, WIDTH), np.float32))


@pytest.mark.parametrize("dtype", FORMS)
def test_unknown_keys_read_as_the_shared_row(dtype):
    """R3: as it is stored, so its own quantisation shows."""
    version, rows = version_of(dtype, DefaultRow(policy="SharedOov"))
    shared = decode(encode(LIVE[:1], dtype), dtype)
    assert bits(read(version, rows, 99, 3, -99)[[0, 2]]) == bits(np.repeat(shared, 2, axis=0))


def test_without_a_shared_row_yet_unknown_keys_read_as_zeros():
    version, rows = version_of("float32", DefaultRow(policy="SharedOov"), KNOWN[1:], LIVE[1:])
    assert not read(version, rows, 99).any()


def test_the_shared_row_is_that_of_the_version():
    """A delta that brings another one changes nothing for those who read the version before."""
    policy = DefaultRow(policy="SharedOov")
    before, rows = version_of("int8rows", policy)
    other = encode(LIVE[:1] + 1, "int8rows")
    after = before.table.load(before, KNOWN[:1], {"rows": other}, NO_KEYS, whole=False)
    assert bits(read(before, rows, 99)) == bits(decode(encode(LIVE[:1], "int8rows"), "int8rows"))
    assert bits(read(after, rows_of(after, policy), 99)) == bits(decode(other, "int8rows"))


@pytest.mark.parametrize("dtype", FORMS)
def test_unknown_keys_read_as_what_their_rows_would_begin_with(dtype):
    """R3: never quantised, whatever the table is."""
    version, rows = version_of(dtype, DefaultRow(policy="HashInit", seed=11, spread=0.05))
    expected = np.empty((2, WIDTH), np.float32)
    draw_rows(
        expected,
        np.arange(2, dtype=np.int32),
        np.array([99, -(2**63) + 1]),
        np.uint64(11),
        np.float32(0.05),
    )
    assert bits(read(version, rows, 99, -(2**63) + 1)) == bits(expected)
    assert expected.std() > 0


def test_a_shared_row_is_nothing_to_the_other_policies():
    version, rows = version_of("float32", DefaultRow(policy="Zeros", seed=1, spread=0.5))
    assert not read(version, rows, 99).any()


@pytest.mark.parametrize("dtype", FORMS)
@pytest.mark.parametrize("policy", ["Zeros", "SharedOov", "HashInit"])
def test_keys_of_several_rows_read_as_their_sum(dtype, policy):
    """R3: added up in order, each row as stored or, where there is none, by default."""
    default = DefaultRow(policy=policy, seed=7, spread=0.5 if policy == "HashInit" else 0.0)
    version, alone = version_of(dtype, default)
    summed = rows_of(version, default, MultiHash(tables=3, rows=1024, seed=0))
    keys = np.array([0, 0, 0, -5, 3, 2**62, 3, 99, -5, 98, 97, 96], np.int64)
    out = np.full((3, WIDTH), np.nan, np.float32)
    gather(summed, keys, version.slots(keys), 1, 3, out)
    first, second, third = np.split(read(version, alone, *keys[3:]).reshape(3, 3, WIDTH), 3, axis=1)
    assert bits(out) == bits((first + second + third)[:, 0])
