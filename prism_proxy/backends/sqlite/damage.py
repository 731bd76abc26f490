"""What is known of damage to a file: a few rows are looked at when it is opened, and again when a read met damage.

Whether one row is damaged or all of them decides if the namespace still serves; a look at both ends of the file tells.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

from prism_proxy.backends.sqlite.rows import DAMAGED, check_head, check_row
from prism_proxy.errors import PrismError

SAMPLE_ROWS = 8  # at each end
SAMPLE_BYTES = 64 * 1024  # of a value; of larger ones only the rest of the row is looked at
LOOK_SECONDS = 5.0  # between looks at a damaged file
_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


@dataclass(slots=True)
class Damage:
    """`rows` counts the reads that met damage, `everywhere` says that the last look found nothing whole. Counted by
    readers, looked at by the writer's thread."""

    rows: int = 0
    last: str = ""
    everywhere: bool = False
    _looked: int = 0
    _look_at: float = 0.0

    def met(self, error: Exception) -> None:
        """Any error of a read or a write; those that are not of damage count for nothing."""
        if shows_damage(error):
            self.note(str(error))

    def note(self, what: str) -> None:
        self.rows += 1
        self.last = what

    def look(self, connection: sqlite3.Connection, *, first: bool = False) -> None:
        """At most every few seconds, and only when damage was met since, or at all where everything was."""
        now = time.monotonic()
        if not first and ((self.rows == self._looked and not self.everywhere) or now < self._look_at):
            return
        self._look_at = now + LOOK_SECONDS
        whole, errors = sample(connection)
        for error in errors:
            if first:
                self.met(error)
        self.everywhere = bool(errors) and not whole
        self._looked = self.rows


def shows_damage(error: Exception) -> bool:
    if isinstance(error, PrismError):
        return error.reason == DAMAGED
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _CODES


def sample(connection: sqlite3.Connection) -> tuple[int, list[Exception]]:
    """How many rows at the two ends are whole, and what is wrong with others."""
    whole = 0
    errors: list[Exception] = []
    for order in ("ASC", "DESC"):
        try:
            rows = connection.execute(
                "SELECT key, version, expires, sum, CASE WHEN length(value) <= ? THEN value END FROM kv"
                f" ORDER BY id {order} LIMIT ?", (SAMPLE_BYTES, SAMPLE_ROWS)).fetchall()
        except sqlite3.DatabaseError as error:
            if not shows_damage(error):
                raise
            errors.append(error)
            continue
        for key, version, expires, stored, value in rows:
            try:
                if value is None:
                    check_head(key, version, expires, stored)
                else:
                    check_row(key, value, version, expires, stored)
                whole += 1
            except PrismError as error:
                errors.append(error)
    return whole, errors
