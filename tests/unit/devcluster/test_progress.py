"""What a person reads while waiting."""

import io

import pytest
from rich.console import Console

from devcluster.progress import Progress, duration, line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (35.4, "35 s"), (60, "1 min"), (380, "6 min 20 s"), (9.96, "10.0 s")],
)
def test_durations_read_as_people_say_them(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("elapsed", "expected", "says"),
    [
        pytest.param(60, 440, "about 6 min 20 s left", id="some is left"),
        pytest.param(500, 440, "longer than the usual 7 min 20 s", id="it takes longer"),
        pytest.param(5, None, "work: 5.0 s", id="nobody knows how long"),
    ],
)
def test_a_step_says_how_long_is_left(elapsed, expected, says):
    assert says in line("work", elapsed, expected)


def test_without_a_terminal_a_long_step_is_announced_and_closed_by_plain_lines():
    out = io.StringIO()
    with Progress(Console(file=out)).step("compiling", 440):
        pass
    announced, closed = out.getvalue().splitlines()
    assert announced == "… compiling (about 7 min 20 s)"
    assert closed.startswith("✓ compiling: 0.")


def test_a_failed_step_says_so_and_lets_the_error_through():
    out = io.StringIO()
    with pytest.raises(ValueError, match="boom"), Progress(Console(file=out)).step("work"):
        raise ValueError("boom")
    assert "✗ work: gave up" in out.getvalue()


def test_in_a_terminal_the_step_is_live_and_leaves_one_line():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80)
    progress = Progress(console)
    with progress.step("outer", 440), progress.step("inner", 10):
        pass
    assert "✓ inner" in out.getvalue()
    assert "✓ outer" in out.getvalue()
