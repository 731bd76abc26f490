"""One process of a program at a time writes a PostgreSQL database: the one that has the lease.

    waiting --taken: epoch + 1--> held --renewed every third of its term--> held
                                    |
                                    +--another has a later epoch--> lost, for good: the process ends

The lease is a row: owner, epoch, expiry by the clock of the database. Every transaction that writes reads the epoch and
locks the row, so that a holder which was silent for too long, and does not know yet that it was replaced, writes
nothing. Nothing of it belongs to a session, so it works behind a pooler. A database that is away costs nobody the
lease: nobody else can take it meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from prism_runtime import log
from prism_runtime.storage.errors import LeaseLostError, StorageError
from prism_runtime.storage.transactions import FENCE, reading, unfenced
from prism_runtime.tasks import cancel

TERM_SECONDS = 10.0
POLL_SECONDS = 0.5  # between two tries to take it
IDLE_MS = 15_000  # after which the database ends a transaction whose process stands still, so that the row is free
_log = log.get("prism.storage.lease")


class _Statements:
    """On the row of a table `owner, epoch, expires_at`."""

    def __init__(self, table: str) -> None:
        self.take = text(
            f"UPDATE {table} SET owner = :owner, epoch = epoch + 1, "
            "expires_at = clock_timestamp() + make_interval(secs => :term) WHERE id = 1 AND "
            "(owner = '' OR expires_at IS NULL OR expires_at < clock_timestamp()) RETURNING epoch")
        self.renew = text(
            f"UPDATE {table} SET expires_at = clock_timestamp() + make_interval(secs => :term) "
            "WHERE id = 1 AND epoch = :epoch RETURNING epoch")
        self.release = text(f"UPDATE {table} SET owner = '', expires_at = NULL WHERE id = 1 AND epoch = :epoch")
        self.look = text(f"SELECT owner, epoch, expires_at FROM {table} WHERE id = 1")
        self.check = text(
            f"SELECT set_config('idle_in_transaction_session_timeout', :idle, true), owner, epoch FROM {table} "
            "WHERE id = 1 FOR SHARE")


class _Holder(NamedTuple):
    owner: str
    epoch: int
    expires_at: datetime | None


class Lease:
    """`take` before anything is read that others change; `start` keeps it; `lost` is called once it is gone."""

    def __init__(self, engine: AsyncEngine, program: str, table: str, term_s: float = TERM_SECONDS) -> None:
        self._engine = engine
        self._program = program
        self._sql = _Statements(table)
        self._term_s = term_s
        self._epoch = 0
        self._task: asyncio.Task[None] | None = None
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"

    @property
    def engine(self) -> AsyncEngine:
        """The same database, where every transaction that writes is checked."""
        return self._engine.execution_options(**{FENCE: self.check})

    async def take(self, *, wait: bool, waiting: Callable[[str], None] = lambda owner: None) -> None:
        """Hold it. Without `wait` StorageError, once its holder has proven to be alive; with it, `waiting` is told who
        that is."""
        told, first = "", None
        while not await self._try():
            holder = await self._look()
            if holder.owner != told:
                told, first = holder.owner, holder
                waiting(holder.owner)
            if not wait and first is not None and first != holder:
                raise StorageError(f"another {self._program} ({holder.owner}) serves this database: stop it, or "
                                   "start this one with --standby, to wait for it")
            await asyncio.sleep(POLL_SECONDS)

    def start(self, lost: Callable[[StorageError], None]) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep(lost))

    async def close(self) -> None:
        """Give it to whoever waits."""
        await cancel([self._task])
        if self._epoch:
            try:
                async with unfenced(self._engine) as connection:
                    await connection.execute(self._sql.release, {"epoch": self._epoch})
            except StorageError as error:
                _log.warning("the lease was not given back: it ends by itself", reason=str(error))

    async def check(self, connection: AsyncConnection) -> None:
        """Within a transaction that writes: LeaseLostError unless it is still ours, and stays so until the end."""
        _, owner, epoch = (await connection.execute(self._sql.check, {"idle": str(IDLE_MS)})).one()
        if epoch != self._epoch:
            raise LeaseLostError(self._program, owner)

    async def _try(self) -> bool:
        async with unfenced(self._engine) as connection:
            epoch = (await connection.execute(
                self._sql.take, {"owner": self.owner, "term": self._term_s})).scalar_one_or_none()
        self._epoch = epoch or 0
        return epoch is not None

    async def _look(self) -> _Holder:
        async with reading(self._engine) as connection:
            return _Holder(*(await connection.execute(self._sql.look)).one())

    async def _keep(self, lost: Callable[[StorageError], None]) -> None:
        while True:
            await asyncio.sleep(self._term_s / 3)
            try:
                async with unfenced(self._engine) as connection:
                    renewed = (await connection.execute(
                        self._sql.renew, {"term": self._term_s, "epoch": self._epoch})).scalar_one_or_none()
                if renewed is None:
                    self._epoch = 0
                    lost(LeaseLostError(self._program, (await self._look()).owner))
                    return
            except StorageError as error:
                _log.error("the lease waits to be renewed", reason=str(error))
