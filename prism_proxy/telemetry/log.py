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
from typing import Any

LEVELS = ("debug", "info", "warning", "error")
_FIELDS = "prism_fields"


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
    every line."""
    handler = logging.StreamHandler(sys.stderr)
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    if fields:
        handler.addFilter(lambda record: _add_fields(record, fields))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


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
        fields = " ".join(f"{key}={_printable(value)}" for key, value in getattr(record, _FIELDS, {}).items())
        line = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {record.levelname:<7} "
        line += _printable(record.getMessage())
        if fields:
            line += f"  {fields}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _printable(value: object) -> str:
    """Text that no terminal takes for a command and no reader for another line."""
    text = str(value)
    return text if text.isprintable() else json.dumps(text)
