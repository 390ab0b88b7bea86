"""Log lines: what is in them, and that nobody waits for them."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import os
import threading

import pytest

from millstream_core.telemetry.logs import LogLines
from tests.builders.processes import run_script


def logger_to(stream, **options):
    """A logger whose lines go to this stream alone."""
    made = logging.getLogger("millstream.test")
    made.handlers, made.propagate = [LogLines(stream, **options)], False
    made.setLevel(logging.INFO)
    return made


def lines_of(log):
    """Its handler; pytest adds one of its own."""
    return next(each for each in log.handlers if isinstance(each, LogLines))


@pytest.fixture
def log():
    return logger_to(io.StringIO())


def written(log):
    lines = lines_of(log)
    lines.flush()
    return [json.loads(line) for line in lines._stream.getvalue().splitlines()]


def test_a_line_says_when_how_bad_who_what_and_which_version(log):
    log.warning("version %d is refused", 7, extra={"version": 7})
    [line] = written(log)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "WARNING",
        "logger": "millstream.test",
        "message": "version 7 is refused",
        "version": 7,
    }


def test_an_exception_is_in_the_line_of_its_message(log):
    log.error("it failed", exc_info=ValueError("two\nlines"))
    [line] = written(log)
    assert line["message"] == "it failed"
    assert line["exception"] == "ValueError: two\nlines"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('a "quote" and\nanother line', id="quotes and line ends"),
        pytest.param("half a character \udc80", id="half a character"),
        pytest.param("Zürich", id="umlauts"),
    ],
)
def test_any_text_is_one_line_of_json(log, text):
    # Not by the logger: pytest would listen, and halves of characters are too much for its report.
    lines_of(log).handle(logging.makeLogRecord({"msg": text}))
    [line] = written(log)
    assert line["message"] == text


def test_arguments_are_read_when_the_line_is_logged(log):
    listed = [1]
    log.info("%s", listed)
    listed.append(2)
    [line] = written(log)
    assert line["message"] == "[1]"


def test_other_handlers_get_the_record_as_it_was(log):
    seen = []
    other = logging.Handler()
    other.emit = seen.append
    log.addHandler(other)
    log.info("%d", 1)
    log.removeHandler(other)
    assert (seen[0].msg, seen[0].args) == ("%d", (1,))
    written(log)


def test_a_faulty_call_does_not_end_its_caller(log, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.info("%d", "no number")
    log.info("next")
    assert [line["message"] for line in written(log)] == ["next"]


def test_lines_go_on_after_a_library_has_configured_logging(log):
    """Which closes every handler there is."""
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    log.info("still there")
    assert [line["message"] for line in written(log)] == ["still there"]


def test_a_stream_that_nobody_reads_holds_nobody_up():
    """The pipe holds 64 KiB; the lines are far more."""
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w")
    log = logger_to(stream, room=50)
    lines = lines_of(log)
    ended = threading.Event()

    def say():
        for _ in range(2000):
            log.info("%s", "x" * 1000)
        ended.set()

    threading.Thread(target=say, daemon=True).start()
    assert ended.wait(20)
    assert lines.dropped > 1000
    with os.fdopen(reading) as end:
        for _ in range(2000 - lines.dropped):
            assert json.loads(end.readline())["message"] == "x" * 1000
    lines.flush()
    stream.close()


def test_what_ends_a_program_or_one_of_its_threads_is_a_line_too():
    said = run_script(
        """
import contextlib, io, json, logging, sys, threading
sys.stderr = io.StringIO()
from millstream_core.telemetry.logs import log_in_json
lines = log_in_json()
logging.getLogger("a").info("begins")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start(); thread.join()
sys.excepthook(ValueError, ValueError("why"), None)
logging.shutdown()
for line in sys.stderr.getvalue().splitlines():
    each = json.loads(line)
    print(each["level"], each["message"], "exception" in each)
"""
    )
    assert said.splitlines() == [
        "INFO begins False",
        "CRITICAL ended by ZeroDivisionError: division by zero True",
        "CRITICAL ended by ValueError: why True",
    ]
