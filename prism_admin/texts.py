"""Text that every database takes.

PostgreSQL has no U+0000 and no index entry beyond 2.7 kB; SQLite has both. What only one takes is refused before it
reaches either, and what must be kept whatever it is, as the audit log, is given a form that both take.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

INDEXED_CHARACTERS = 512  # of an indexed column: at most 2 kB of UTF-8
_NUL = "\x00"


def problem_of(request: Message) -> str | None:
    """Why no database could keep or look up what a request says; None when all can."""
    try:
        where = _nul_in(MessageToDict(request, preserving_proto_field_name=True), "")
    except ValueError as error:  # a time that is none
        return f"the request cannot be read: {error}"
    return f"{where} has the character U+0000: leave it out" if where is not None else None


def storable(value: Any) -> Any:
    """A copy of JSON-like data in which U+0000 stands as `\\x00`."""
    if isinstance(value, str):
        return value.replace(_NUL, "\\x00")
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(storable, value))
    return value


def indexable(text: str) -> str:
    """The text, cut where an index could not hold it."""
    return text if len(text) <= INDEXED_CHARACTERS else f"{text[:INDEXED_CHARACTERS - 1]}…"


def _nul_in(value: Any, path: str) -> str | None:
    """The dotted name of the first text with U+0000."""
    if isinstance(value, str):
        return path if _NUL in value else None
    if isinstance(value, list):
        value = {str(index): item for index, item in enumerate(value)}
    if not isinstance(value, dict):
        return None
    for key, item in value.items():
        shown = f"{path}.{key}" if path else str(key)
        found = f"a key of {path}" if _NUL in str(key) else _nul_in(item, shown)
        if found is not None:
            return found
    return None
