"""All messages and records of a file, for commands that look at how they are stored."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from functools import partial

from prism_proxy.backends.sqlite.messaging.content import headers_from_bytes
from prism_proxy.backends.sqlite.readers import Readers
from prism_proxy.models.messages import KeptMessage

_PAGE = 500
_QUERIES = {
    "queue": "SELECT message.id, name, headers, data FROM message JOIN queue ON queue.id = message.queue"
             " WHERE message.id > ? ORDER BY message.id LIMIT ?",
    "log": "SELECT id, '', headers, data FROM record WHERE id > ? ORDER BY id LIMIT ?"}


async def kept_messages(readers: Readers) -> AsyncIterator[KeptMessage]:
    for model, query in _QUERIES.items():
        after = -1
        while page := await readers.run(partial(_page, query=query, after=after)):
            for after, name, headers, data in page:  # noqa: B007 - it is where the next page begins
                yield KeptMessage(model, name, data, headers_from_bytes(headers))


def _page(connection: sqlite3.Connection, query: str, after: int) -> list[tuple[int, str, bytes, bytes]]:
    return connection.execute(query, (after, _PAGE)).fetchall()
