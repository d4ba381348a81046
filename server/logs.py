"""The log: lines for people or JSON for machines, with request ids and without users' texts."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TextIO

from rich.console import Console
from rich.logging import RichHandler

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The request that the current task works for."""

_QUIET = ("uvicorn", "httpx", "httpcore", "websockets")


def configure(
    *,
    style: str = "text",
    level: str = "info",
    show_text: bool = False,
    stream: TextIO | None = None,
) -> None:
    """Let the root logger write ``text`` (coloured on a terminal) or ``json`` to standard error.

    Unless ``show_text``, a failure is written without its message, which may quote a text.
    """
    stream = stream or sys.stderr
    handler: logging.Handler = logging.StreamHandler(stream)
    formatter: _Formatter = (_JsonFormatter if style == "json" else _LineFormatter)(show_text)
    if style != "json" and stream.isatty():
        handler = RichHandler(console=Console(file=stream), show_path=False, markup=False)
        formatter.prefix = ""
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def fields(**values: Any) -> dict[str, Any]:
    """What a line says besides its message, as the ``extra`` of a logging call."""
    return {"fields": values}


class _Formatter(logging.Formatter):
    prefix = ""

    def __init__(self, show_text: bool) -> None:
        super().__init__()
        self._show_text = show_text

    def failure(self, record: logging.LogRecord) -> str:
        """Where an exception came from; its message only where texts are shown."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return ""
        if self._show_text:
            return "".join(traceback.format_exception(error))
        return "\n".join(_bare(error))


class _JsonFormatter(_Formatter):
    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields_of(record),
        }
        if failure := self.failure(record):
            line["failure"] = failure
        return json.dumps(line, default=str)


class _LineFormatter(_Formatter):
    prefix = "{time} {level} {logger}: "

    def format(self, record: logging.LogRecord) -> str:
        place = {"time": self.formatTime(record), "level": record.levelname, "logger": record.name}
        said = [f"{name}={value}" for name, value in _fields_of(record).items()]
        line = self.prefix.format(**place) + " ".join([record.getMessage(), *said])
        failure = self.failure(record)
        return f"{line}\n{failure}" if failure else line


def _fields_of(record: logging.LogRecord) -> Mapping[str, Any]:
    request_id = REQUEST_ID.get()
    own: Mapping[str, Any] = getattr(record, "fields", {})
    return {**({"request_id": request_id} if request_id else {}), **own}


def _bare(error: BaseException) -> Iterator[str]:
    """An exception, what caused it, and where, without their messages."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _bare(before)
        yield "which led to:"
    yield from (line.rstrip() for line in traceback.format_tb(error.__traceback__))
    yield type(error).__name__
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _bare(inner)
