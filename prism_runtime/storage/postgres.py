"""How connections to PostgreSQL are made, so that they work behind a pooler too.

A pooler in transaction mode (pgbouncer) gives each transaction any of its connections to the server. Nothing may be
left on one, or be expected there, between transactions: no prepared statement with a name, no session setting, no
advisory lock of a session, and no statement outside of a transaction that takes two messages.
"""

from __future__ import annotations

from typing import Any

import asyncpg

from prism_runtime.storage.database_url import Database


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """Codecs are looked up by a query, which SQLAlchemy makes outside of a transaction."""

    async def set_type_codec(self, *arguments: Any, **options: Any) -> None:
        async with self.transaction():
            await super().set_type_codec(*arguments, **options)


def arguments(database: Database, wait_s: float) -> dict[str, Any]:
    """What SQLAlchemy's dialect and asyncpg take. `wait_s` is how long a connection and an answer may take."""
    return {
        "timeout": wait_s, "command_timeout": wait_s, **database.connect, "connection_class": _Connection,
        "statement_cache_size": 0, "prepared_statement_cache_size": 0, "prepared_statement_name_func": _unnamed}


def _unnamed() -> str:
    """The statement without a name lives until the next one: there is nothing to close, or to collide with."""
    return ""
