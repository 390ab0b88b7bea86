"""Logs of a program: one JSON object a line, written by a thread of their own.

    log.info(…) ──► line, without its time-consuming parts ──► OffPath ──► stderr

A pod's stderr is a pipe that somebody else empties. When they stop, a program that writes by itself
stops with them at its next line; here lines are dropped and counted instead.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
from copy import copy
from typing import TYPE_CHECKING, Final, TextIO

from pythonjsonlogger.json import JsonFormatter

from millstream_core.telemetry.off_path import OffPath

if TYPE_CHECKING:
    from types import TracebackType

LINES_WAITING: Final = 4096
FLUSH_SECONDS: Final = 2.0  # for the last lines to be read by somebody

_PLAIN: Final = logging.Formatter()


def json_lines() -> logging.Formatter:
    """The form of a line: level, logger, message, exception, what `extra` says, time."""
    # By json and not orjson, which refuses text with halves of characters: a log takes what comes.
    return JsonFormatter(
        ["levelname", "name", "message"],
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
        timestamp="time",
    )


class LogLines(logging.Handler):
    """Writes the lines of all loggers once it is in place."""

    def __init__(self, stream: TextIO, room: int = LINES_WAITING) -> None:
        """Write nowhere else but to this stream.

        Args:
            stream: where lines go.
            room: lines that may wait for it.
        """
        super().__init__()
        self.setFormatter(json_lines())
        self._stream = stream
        self._lines = OffPath("log", self._write, room=room)

    @property
    def dropped(self) -> int:
        """Lines that were not written."""
        return self._lines.dropped

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        # As text at once: what arguments refer to may change, and the frames of an exception hold
        # whole versions of a model.
        said = copy(record)
        try:
            said.msg, said.args = record.getMessage(), None
        except Exception:  # noqa: BLE001 - as in logging: a faulty call must not end its caller
            self.handleError(record)
            return
        if record.exc_info:
            said.exc_text = _PLAIN.formatException(record.exc_info)
            said.exc_info = None
        self._lines.put(said)

    def flush(self) -> None:
        """Write what waits, if somebody reads; called by logging.shutdown.

        Which is more than once: libraries call it, by logging.config, while the program runs, and
        take its handlers off the list of what is flushed at its end.
        """
        self._lines.flush(FLUSH_SECONDS)

    def _write(self, records: list[logging.LogRecord]) -> None:
        self._stream.write("".join(f"{self.format(record)}\n" for record in records))
        self._stream.flush()


def log_in_json() -> LogLines:
    """Have all that is logged from now on written to stderr, and what ends a thread unforeseen."""
    lines = LogLines(sys.stderr)
    logging.basicConfig(level=logging.INFO, handlers=[lines])
    atexit.register(lines.flush)
    sys.excepthook = _ended
    threading.excepthook = _thread_ended
    return lines


def _ended(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):  # somebody at a terminal
        sys.__excepthook__(kind, error, traceback)
        return
    logging.getLogger(__name__).critical(
        "ended by %s: %s", kind.__name__, error, exc_info=(kind, error, traceback)
    )


def _thread_ended(given: threading.ExceptHookArgs) -> None:
    error = given.exc_value or given.exc_type()
    _ended(given.exc_type, error, given.exc_traceback)
