"""Structured logs: one JSON object a line on stderr, or readable text on a terminal.

Built on the standard library's logging, which drivers and grpcio use too, so that there is one stream. (Decision 0001
says why not structlog.) Payloads, keys and credentials are never logged.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import MutableMapping
from typing import Any, TextIO

from prism_runtime.log_stream import LogStream

LEVELS = ("debug", "info", "warning", "error")
END_SECONDS = 1.0
_FIELDS = "prism_fields"
_STDERR = 2


class Log(logging.LoggerAdapter[logging.Logger]):
    """A logger whose keyword arguments become fields: `log.info("serving", ports=[8980])`."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        passed = {key: kwargs.pop(key) for key in ("exc_info", "stack_info", "stacklevel") if key in kwargs}
        return msg, {**passed, "extra": {_FIELDS: kwargs}}


def get(name: str) -> Log:
    """The logger of a part of the product."""
    return Log(logging.getLogger(name), None)


def configure(level: str = "info", form: str = "auto", **fields: object) -> None:
    """Set up logging of the process. `form` is json, text or auto (text when stderr is a terminal); `fields` stand in
    every line. What waits for the reader of stderr outlives another call."""
    handler: logging.Handler | None = _configured()
    if handler is None:
        handler = StderrHandler() if _is_stderr(sys.stderr) else logging.StreamHandler(sys.stderr)
        logging.basicConfig(handlers=[handler], force=True)
    logging.getLogger().setLevel(level.upper())
    text = form == "text" or (form == "auto" and sys.stderr is not None and sys.stderr.isatty())
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    handler.filters = [lambda record: _add_fields(record, fields)] if fields else []


def dropped_lines() -> int:
    """How many lines of this process went nowhere, because nobody read them."""
    handler = _configured()
    return handler.stream.dropped if handler is not None else 0


def drain() -> None:
    """Write what waits for the reader of stderr, for END_SECONDS at most. For those who end the process without exit
    handlers; others need not call it."""
    handler = _configured()
    if handler is not None:
        handler.stream.drain(END_SECONDS)


class StderrHandler(logging.StreamHandler[LogStream]):
    """Logging that a reader of stderr who reads nothing cannot block. Lines wait for it at most END_SECONDS at exit."""

    def __init__(self) -> None:
        super().__init__(LogStream(_STDERR, self._dropped))

    def flush(self) -> None:
        """Nothing: lines are written when they are logged, if they can be."""

    def close(self) -> None:
        self.stream.drain(END_SECONDS)
        super().close()

    def _dropped(self, lines: int) -> str:
        record = logging.makeLogRecord({
            "name": "prism.log", "levelname": "WARNING", "levelno": logging.WARNING,
            "msg": "lines of this log were dropped because nobody read them", _FIELDS: {"lines": lines}})
        self.filter(record)
        return self.format(record) + self.terminator


def _configured() -> StderrHandler | None:
    return next((one for one in logging.getLogger().handlers if isinstance(one, StderrHandler)), None)


def _is_stderr(stream: TextIO | None) -> bool:
    """Whether a stream is the process's own, open, and nothing put in its place."""
    try:
        return stream is not None and stream.fileno() == _STDERR
    except OSError:
        return False


def _add_fields(record: logging.LogRecord, fields: dict[str, object]) -> bool:
    setattr(record, _FIELDS, {**fields, **getattr(record, _FIELDS, {})})
    return True


class JsonFormatter(logging.Formatter):
    """timestamp (UTC), level, logger, event, then the fields of the call."""

    def format(self, record: logging.LogRecord) -> str:
        milliseconds = int(record.msecs)
        out: dict[str, Any] = {
            "timestamp": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{milliseconds:03d}Z",
            "level": record.levelname.lower(), "logger": record.name, "event": record.getMessage()}
        for name, value in getattr(record, _FIELDS, {}).items():
            out.setdefault(name, value)
        if record.exc_info:
            out["exception"] = self.formatException(record.exc_info)
        return json.dumps(out, default=str)


class TextFormatter(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{key}={_value(value)}" for key, value in getattr(record, _FIELDS, {}).items())
        line = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {record.levelname:<7} "
        line += _printable(record.getMessage())
        if fields:
            line += f"  {fields}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _value(value: object) -> str:
    """A field's value: quoted where it would not end with the next space, or might pass for another field."""
    text = str(value)
    if not text or not text.isprintable() or any(sign in text for sign in ' ="'):
        return json.dumps(text, ensure_ascii=not text.isprintable())
    return text


def _printable(value: object) -> str:
    """Text that no terminal takes for a command and no reader for another line."""
    text = str(value)
    return text if text.isprintable() else json.dumps(text)
