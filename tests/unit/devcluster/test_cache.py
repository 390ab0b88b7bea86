"""Artefacts: named by what goes into them, never half made."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from devcluster.cache import Artefact, ensure, recipe_digest
from devcluster.progress import quiet


def make_artefact(make, version="1.0", sources=(), settings=("-s",)):
    return Artefact(
        name="thing",
        version=version,
        title="making a thing",
        seconds=1,
        sources=tuple(sources),
        settings=tuple(settings),
        make=make,
    )


def source(tmp_path: Path, name: str, content: str) -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("version", "settings", "name", "content"),
    [
        pytest.param("1.1", ("-s",), "go.mod", "a", id="another version"),
        pytest.param("1.0", ("-w",), "go.mod", "a", id="another flag"),
        pytest.param("1.0", ("-s", ""), "go.mod", "a", id="one more empty flag"),
        pytest.param("1.0", ("-s",), "go.sum", "a", id="another file name"),
        pytest.param("1.0", ("-s",), "go.mod", "b", id="another content"),
    ],
)
def test_digest_changes_with_everything_that_goes_in(tmp_path, version, settings, name, content):
    plain = recipe_digest("1.0", ("-s",), (source(tmp_path, "one/go.mod", "a"),))
    other = recipe_digest(version, settings, (source(tmp_path, f"two/{name}", content),))
    assert other != plain


def test_digest_ignores_where_the_checkout_lies_and_the_order_of_files(tmp_path):
    here = [source(tmp_path, f"here/{name}", name) for name in ("go.mod", "go.sum")]
    there = [source(tmp_path, f"there/{name}", name) for name in ("go.sum", "go.mod")]
    assert recipe_digest("1", (), tuple(here)) == recipe_digest("1", (), tuple(there))


def test_an_artefact_is_made_once(tmp_path):
    made = []

    def make(folder):
        made.append(folder)
        (folder / "program").write_text("x")

    artefact = make_artefact(make)
    first, second = (ensure(artefact, tmp_path, quiet()) for _ in range(2))
    assert first == second
    assert (first / "program").read_text() == "x"
    assert len(made) == 1


def test_a_failed_making_leaves_nothing_that_looks_finished(tmp_path):
    def fail(folder):
        (folder / "half").write_text("x")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        ensure(make_artefact(fail), tmp_path, quiet())
    assert not make_artefact(fail).folder(tmp_path).exists()

    made = ensure(make_artefact(lambda _: None), tmp_path, quiet())
    assert list(made.iterdir()) == []


def test_a_second_launcher_waits_for_the_first_and_uses_what_it_made(tmp_path):
    making, may_end = threading.Event(), threading.Event()
    made = []

    def slow(folder):
        made.append(folder)
        making.set()
        assert may_end.wait(10)

    def late(folder):
        made.append(folder)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(ensure, make_artefact(slow), tmp_path, quiet())
        assert making.wait(10)
        second = pool.submit(ensure, make_artefact(late), tmp_path, quiet())
        may_end.set()
        assert first.result(10) == second.result(10)
    assert len(made) == 1
