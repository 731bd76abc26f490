"""The tables of a file, in the format of this release: made, migrated from an earlier one, or refused.

A migration is one transaction. What says which format a file has stands in its header, where a damage would make it
another program's file or a newer one; so the format is also kept in a row, with a checksum.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from prism_proxy._native.sqlite.row_sum import row_holds, row_sum
from prism_proxy.backends.sqlite.header import APPLICATION, FORMAT, newer
from prism_proxy.backends.sqlite.messaging.tables import TABLES
from prism_proxy.errors import PrismError, StatusCode

_TABLES = """
CREATE TABLE kv (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    version INTEGER NOT NULL,
    expires INTEGER,
    sum INTEGER,
    value BLOB NOT NULL
);
CREATE INDEX kv_expires ON kv (expires) WHERE expires IS NOT NULL;
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL, sum INTEGER) WITHOUT ROWID;
""" + TABLES
# from a format to the next one
_MIGRATIONS = {
    1: "ALTER TABLE kv ADD COLUMN sum INTEGER; ALTER TABLE counter ADD COLUMN sum INTEGER;",
    2: TABLES,
}
FORMAT_WITHOUT_ROW = 1  # the one that no row tells
_VERSION, _FORM = "version", "format"


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """The tables are those of this release afterwards. PrismError STORE_FORMAT for another program's file or a newer
    one, DATA_LOSS for a header that contradicts the tables."""
    form = prepared_form(connection, path)
    if form == 0:
        _create(connection)
    elif form > FORMAT:
        raise _refused(newer(path, form))
    elif form < FORMAT:
        _migrate(connection, form)


def prepared_form(connection: sqlite3.Connection, path: Path) -> int:
    """The format of the file, 0 for an empty one. PrismError as `prepare`, but for newer ones."""
    (form,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if {"kv", "counter"} <= tables:
        kept = _kept_form(connection)
        told = FORMAT_WITHOUT_ROW if kept is None else kept
        if application != APPLICATION or form != told:
            raise header_damaged(
                path, f"application id {application:#x}, format {form}, where its tables are those of format {told}")
    elif application == APPLICATION and form <= FORMAT:
        raise header_damaged(path, f"it says format {form}, but the tables of that are not there")
    elif application != APPLICATION and (form or application or tables):
        raise _refused(f"{path} holds another program's data (application id {application:#x}, version {form}): give "
                       "this namespace another path")
    return int(form)


def _kept_form(connection: sqlite3.Connection) -> int | None:
    """The format that the file's own row tells; None in files of format 1."""
    columns = {row[1] for row in connection.execute("PRAGMA table_info(counter)")}
    if "sum" not in columns:
        return None
    found = connection.execute("SELECT value, sum FROM counter WHERE name = ?", (_FORM,)).fetchone()
    return found[0] if found is not None and counter_holds(_FORM, *found) else None


def stored_version(connection: sqlite3.Connection) -> int:
    """The last version that was given out. A damaged counter is taken from the rows: no transaction is open that could
    have seen a higher one."""
    found = connection.execute("SELECT value, sum FROM counter WHERE name = ?", (_VERSION,)).fetchone()
    if found is not None and counter_holds(_VERSION, *found):
        return int(found[0])
    (highest,) = connection.execute("SELECT ifnull(max(version), 0) FROM kv").fetchone()
    return int(highest)


def keep_version(connection: sqlite3.Connection, version: int) -> None:
    connection.execute("UPDATE counter SET value = ?, sum = ? WHERE name = 'version'",
                       (version, row_sum(b"version", b"", version, None)))


def counter_holds(name: str, value: object, stored: object) -> bool:
    if stored is None:
        return isinstance(value, int)
    return row_holds(stored, name.encode(), b"", value, None)


def header_damaged(path: Path, detail: str) -> PrismError:
    return PrismError(
        StatusCode.DATA_LOSS, "STORE_CORRUPT",
        f"the header of {path} is damaged ({detail}): restore it from a backup; prism-proxy verify FILE tells more",
        {"outcome": "not_executed"})


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    _execute(connection, _TABLES)
    connection.execute("INSERT INTO counter VALUES ('version', 0, NULL)")
    connection.execute(f"PRAGMA application_id={APPLICATION}")
    _mark(connection)
    connection.execute("COMMIT")


def _migrate(connection: sqlite3.Connection, form: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for step in range(form, FORMAT):
        _execute(connection, _MIGRATIONS[step])
    _mark(connection)
    connection.execute("COMMIT")


def _mark(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT OR REPLACE INTO counter VALUES (?, ?, ?)",
                       (_FORM, FORMAT, row_sum(_FORM.encode(), b"", FORMAT, None)))
    connection.execute(f"PRAGMA user_version={FORMAT}")


def _execute(connection: sqlite3.Connection, script: str) -> None:
    """Within the transaction that is open, which `executescript` would end."""
    for statement in filter(str.strip, script.split(";")):
        connection.execute(statement)


def _refused(message: str) -> PrismError:
    return PrismError(StatusCode.FAILED_PRECONDITION, "STORE_FORMAT", message, {"outcome": "not_executed"})
