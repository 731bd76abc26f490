"""Structured logs: one JSON object a line on stderr, or readable text on a terminal.

Payloads, keys and credentials are never logged.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

LEVELS = ("debug", "info", "warning", "error")


def configure(level: str = "info", form: str = "auto") -> None:
    """Set up logging of the process. `form` is json, text or auto (text when stderr is a terminal)."""
    number = getattr(logging, level.upper())
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if text else structlog.processors.JSONRenderer()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, renderer], wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr), cache_logger_on_first_use=True)
    logging.basicConfig(handlers=[_Forward()], level=number, force=True)
    # The server logs its own failures with more context than the loop can.
    logging.getLogger("asyncio").setLevel(logging.ERROR)


class _Forward(logging.Handler):
    """Passes records of the standard library's loggers (grpc, asyncio, drivers) to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)
