"""Keeps a newer write of a key behind an older one that was given up, in a cluster.

A command takes any free connection to its node, so a write that was given up (a lost connection, silence, a caller who
went away) may reach the node after a newer one over another connection. Its keys are in doubt until the node was told
to kill that connection, or another has taken its place: until then no write of them is sent. What is still waited for
holds up nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from redis import exceptions
from redis.asyncio.cluster import PipelineCommand

from prism_proxy._native.redis.resp import ConnectionLost

AGAIN_S = 0.1
_READS = frozenset({"GET", "MGET", "EXISTS", "PTTL", "SCAN", "ASKING", "PUBLISH"})
_LOST = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
_SCRIPTS = ("EVAL", "EVALSHA")
_UNANSWERED: Any = object()


class WriteOrder:
    """One for all namespaces on a cluster. `is_primary(node)`: whether the node has slots yet."""

    def __init__(self, is_primary: Callable[[Any], bool]) -> None:
        self._is_primary = is_primary
        self._doubtful: Counter[bytes] = Counter()
        self._numbers: weakref.WeakKeyDictionary[Any, tuple[Any, int | None]] = weakref.WeakKeyDictionary()
        self._fences: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        for task in self._fences:
            task.cancel()
        await asyncio.gather(*self._fences, return_exceptions=True)

    async def clear(self, commands: Sequence[PipelineCommand], wait_s: float) -> None:
        """Wait until no key that is written is in doubt. ConnectionLost when that takes too long."""
        if not self._doubtful:
            return
        keys = list(_written(commands))
        left = wait_s
        while any(self._doubtful[key] for key in keys):
            if left <= 0:
                raise ConnectionLost("an older write of the key may be on its way yet", False)
            await asyncio.sleep(AGAIN_S)
            left -= AGAIN_S

    async def exchange(self, node: Any, commands: Sequence[PipelineCommand]) -> None:
        """Commands and their replies, over one of the connections of redis-py to a node."""
        connection = node.acquire_connection()
        task = asyncio.current_task()
        cancelled = task.cancelling() if task is not None else 0
        number: int | None = None
        sent = False
        for command in commands:
            command.result = _UNANSWERED
        try:
            await node.disconnect_if_needed(connection)
            number = await self._number(connection)
            sent = True
            await connection.send_packed_command(connection.pack_commands(command.args for command in commands))
            for command in commands:
                try:
                    command.result = await node.parse_response(connection, command.args[0], **command.kwargs)
                except Exception as error:  # noqa: BLE001 - it is the command's result, whatever it is
                    command.result = error
            if task is not None and task.cancelling() > cancelled:  # redis-py takes it for its own at times
                raise asyncio.CancelledError
        finally:
            if sent:
                self._doubt(node, number, [command for command in commands if command.result is _UNANSWERED or
                                           isinstance(command.result, _LOST)])
            try:
                await node.disconnect_if_needed(connection)
            finally:
                node.release(connection)

    async def _number(self, connection: Any) -> int | None:
        """What the node calls the connection; None where it does not tell."""
        if connection._writer is None:
            await connection.connect()
        known = self._numbers.get(connection)
        if known is None or known[0] is not connection._writer:
            number = None
            with contextlib.suppress(exceptions.ResponseError):
                await connection.send_command("CLIENT", "ID")
                number = int(await connection.read_response())
            known = self._numbers[connection] = (connection._writer, number)
        return known[1]

    def _doubt(self, node: Any, number: int | None, commands: Sequence[PipelineCommand]) -> None:
        keys = list(_written(commands))
        if not keys or number is None:
            return
        self._doubtful.update(keys)
        task = asyncio.get_running_loop().create_task(self._fence(node, number, keys))
        self._fences.add(task)
        task.add_done_callback(self._fences.discard)

    async def _fence(self, node: Any, number: int, keys: Sequence[bytes]) -> None:
        """Have the node forget a connection, then free its keys. A node that is not there executes nothing."""
        try:
            while self._is_primary(node):
                try:
                    await node.execute_command("CLIENT KILL", "ID", number)
                    return
                except exceptions.MaxConnectionsError:
                    pass
                except exceptions.ResponseError:  # no such connection, or not permitted
                    return
                except _LOST as error:
                    if isinstance(error.__context__, ConnectionRefusedError) or "111" in str(error):
                        return
                await asyncio.sleep(AGAIN_S)
        finally:
            self._doubtful.subtract(keys)
            for key in keys:
                if self._doubtful[key] <= 0:
                    del self._doubtful[key]


def _written(commands: Iterable[PipelineCommand]) -> Iterable[bytes]:
    for command in commands:
        name, arguments = command.args[0], command.args[1:]
        if name in _SCRIPTS:
            yield from arguments[2:2 + int(arguments[1])]
        elif name not in _READS:
            yield arguments[0]
