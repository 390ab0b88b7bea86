"""Kernels compiled into an image arrive where numba looks for them."""

from pathlib import Path

import pytest

from millstream_core.kernels import bring_kernels


def test_kernels_of_the_image_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped, cache = tmp_path / "shipped", tmp_path / "cache"
    (shipped / "tables").mkdir(parents=True)
    (shipped / "tables" / "index.nbi").write_bytes(b"compiled")
    monkeypatch.setenv("MILLSTREAM_KERNELS", str(shipped))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(cache))
    bring_kernels()
    bring_kernels()  # a container that restarts finds them there already
    assert (cache / "tables" / "index.nbi").read_bytes() == b"compiled"


@pytest.mark.parametrize("variable", ["MILLSTREAM_KERNELS", "NUMBA_CACHE_DIR"])
def test_without_an_image_there_is_nothing_to_do(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLSTREAM_KERNELS", str(tmp_path / "none"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv(variable)
    bring_kernels()
    assert not (tmp_path / "cache").exists()
