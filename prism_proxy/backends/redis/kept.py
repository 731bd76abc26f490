"""All records of streams, and the ready messages of queues, for commands that look at how they are stored.

A topic of Redis keeps nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from prism_proxy.backends.redis import scan
from prism_proxy.backends.redis.commands import Commands
from prism_proxy.backends.redis.names import Names
from prism_proxy.backends.redis.stream_records import record
from prism_proxy.models.messages import MAX_BATCH, KeptMessage

_PAGE = 500
_QUEUES = 100_000


async def kept_messages(commands: Commands, names: Names, queues: Any) -> AsyncIterator[KeptMessage]:
    for queue in await queues.queues(_QUEUES):
        for message in await queues.peek(queue, MAX_BATCH, 0.0):
            yield KeptMessage("queue", queue, message.data, message.headers)
    position = scan.Position.decode(None, scan.MOST_COUNT)
    while True:
        page = await scan.page(commands, b"", names.streams, position, b"stream")
        for key in page.keys:
            async for found in _records(commands, key):
                yield KeptMessage("stream", key[len(names.streams):].decode("utf-8", "replace"), found.data,
                                  found.headers)
        if page.cursor is None:
            return
        position = scan.Position.decode(page.cursor, 0)


async def _records(commands: Commands, key: bytes) -> AsyncIterator[Any]:
    after = b"-"
    while found := await commands.execute(b"XRANGE", key, after, b"+", b"COUNT", b"%d" % _PAGE, key=key):
        for identity, pairs in found:
            yield record(identity, pairs)
        after = b"(" + found[-1][0]
