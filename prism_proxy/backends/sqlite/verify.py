"""The command `prism-proxy verify FILE`: every damage to a file of a SQLite namespace. It changes nothing.

The file may be served meanwhile: rows are read in pages, so that the writer's log is never held for long, but for
SQLite's own check of its structure, which is one read of the whole file.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from prism_proxy.backends.sqlite.header import FORMAT, HEADER_BYTES, newer, parse
from prism_proxy.backends.sqlite.messaging.content import content_holds
from prism_proxy.backends.sqlite.rows import check_row, shown
from prism_proxy.backends.sqlite.schema import counter_holds, prepared_form
from prism_proxy.errors import PrismError

PAGE_ROWS = 1000
STRUCTURE_ERRORS = 1000  # that SQLite's check lists at most
WHOLE, DAMAGED, UNUSABLE = 0, 1, 1


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 when the file is whole, 1 when it is damaged or cannot be read."""
    parser = argparse.ArgumentParser(
        prog="prism-proxy verify", allow_abbrev=False,
        description="Report every damage to the file of a SQLite namespace, which may be served meanwhile. "
                    "Exit code 0 when it is whole, 1 when it is not.")
    parser.add_argument("file", metavar="FILE", type=Path)
    file: Path = parser.parse_args(arguments).file
    try:
        return _verify(Path(os.path.realpath(file)))
    except (OSError, sqlite3.Error, PrismError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
        sys.stderr.write(f"prism-proxy verify: {file}: {reason}\n")
        return UNUSABLE


def _verify(file: Path) -> int:
    with file.open("rb") as opened:
        header = parse(opened.read(HEADER_BYTES))
    if header is None or header.of_no_database:
        sys.stderr.write(f"prism-proxy verify: {file} is no SQLite database\n")
        return UNUSABLE
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, isolation_level=None)) as connection:
        connection.text_factory = lambda stored: stored.decode("utf-8", "surrogateescape")
        rows = Rows(connection, KEYS)
        messages = [Rows(connection, table) for table in (MESSAGES, RECORDS)]
        found = 0
        for trouble in _troubles(connection, file, [rows, *messages]):
            found += 1
            sys.stdout.write(f"{trouble}\n")
    unsummed = f", {rows.unsummed} of them without a checksum (not written since release 0.1)" if rows.unsummed else ""
    verdict = f"{found} damage{'' if found == 1 else 's'} found" if found else "no damage found"
    counts = ", ".join(f"{table.read} {table.what}" for table in messages if table.read)
    sys.stdout.write(f"{file}: {rows.read} rows{unsummed}{', ' if counts else ''}{counts}: {verdict}\n")
    return DAMAGED if found else WHOLE


def _troubles(connection: sqlite3.Connection, file: Path, tables: Sequence[Rows]) -> Iterator[str]:
    try:
        form = prepared_form(connection, file)
        if form > FORMAT:
            yield newer(file, form)
            return
    except (PrismError, sqlite3.DatabaseError) as error:
        yield f"header: {getattr(error, 'message', error)}"
    try:
        for (line,) in connection.execute(f"PRAGMA integrity_check({STRUCTURE_ERRORS})"):
            if line != "ok":
                yield f"structure: {line}"
    except sqlite3.DatabaseError as error:
        yield f"structure: {error}"
    try:
        summed = "sum" in {row[1] for row in connection.execute("PRAGMA table_info(counter)")}
        for name, value, stored in connection.execute(
                f"SELECT name, value, {'sum' if summed else 'NULL'} FROM counter"):
            if not counter_holds(name, value, stored):
                yield f"counter {name}: its checksum does not hold"
    except sqlite3.DatabaseError as error:
        yield f"counters: {error}"
    for table in tables:
        yield from table.troubles()


class Table(NamedTuple):
    """`columns` behind the row's id; `check` says what is wrong with a row, and has the id first."""

    name: str
    what: str
    columns: str
    check: Callable[[Sequence[Any]], str | None]


def _wrong_key(row: Sequence[Any]) -> str | None:
    number, key, version, expires, stored, value = row
    try:
        check_row(key, value, version, expires, stored)
    except PrismError:
        return f"row {number}, key {shown(key)}: its checksum does not hold"
    return None


def _wrong_message(row: Sequence[Any]) -> str | None:
    number, published, expires, message_id, headers, stored, data = row
    if content_holds(stored, headers, data, published, expires):
        return None
    return f"message {number}, id {shown(message_id)}: its checksum does not hold"


KEYS = Table("kv", "rows", "key, version, expires, sum, value", _wrong_key)
MESSAGES = Table("message", "messages of queues", "enqueued, expires, message_id, headers, sum, data", _wrong_message)
RECORDS = Table("record", "records of streams and topics",
                "published, expires, message_id, CAST(key || headers AS BLOB), sum, data", _wrong_message)


class Rows:
    """All rows of a table, in the order of the file. `read` and `unsummed` count those that could be read, and of
    these the ones without a checksum."""

    def __init__(self, connection: sqlite3.Connection, table: Table) -> None:
        self._connection = connection
        self._table = table
        self.what = table.what
        self.read = 0
        self.unsummed = 0

    def troubles(self) -> Iterator[str]:
        """What is wrong, row by row. Where rows cannot be read, those behind them are looked for in larger steps."""
        try:
            there = {row[1] for row in self._connection.execute(f"PRAGMA table_info({self._table.name})")}
            if not there:
                return  # of an earlier format
            (last,) = self._connection.execute(f"SELECT max(id) FROM {self._table.name}").fetchone()
        except sqlite3.DatabaseError as error:
            yield f"{self.what}: {error}"
            return
        columns = self._table.columns if "sum" in there else self._table.columns.replace("sum", "NULL")
        query = f"SELECT id, {columns} FROM {self._table.name} WHERE id > ? ORDER BY id LIMIT ?"
        at, step = 0, 1
        while isinstance(last, int) and at < last:
            try:
                page = self._connection.execute(query, (at, PAGE_ROWS if step == 1 else 1)).fetchall()
            except sqlite3.DatabaseError as error:
                if step == 1:
                    yield from self._one_by_one(query, at)
                    yield f"{self.what}: some behind id {at} cannot be read: {error}"
                at, step = at + step, step * 2
                continue
            step = 1
            if not page:
                return
            for row in page:
                yield from self._check(row)
            if page[-1][0] <= at:
                yield f"{self.what}: their ids go back behind {at}"
                return
            at = page[-1][0]

    def _one_by_one(self, query: str, at: int) -> Iterator[str]:
        """The rows of a page up to the one that cannot be read."""
        rows = self._connection.execute(query, (at, PAGE_ROWS))
        try:
            for row in rows:
                yield from self._check(row)
        except sqlite3.DatabaseError:
            return
        finally:
            rows.close()

    def _check(self, row: Sequence[Any]) -> Iterator[str]:
        self.read += 1
        self.unsummed += row[-2] is None
        wrong = self._table.check(row)
        if wrong is not None:
            yield wrong
