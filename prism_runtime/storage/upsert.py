"""INSERT … ON CONFLICT DO UPDATE, in the form of either database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


def upsert(
    connection: AsyncConnection, table: Table, values: Mapping[str, Any], keys: Sequence[str],
    changes: Mapping[str, Any],
) -> Any:
    """Insert `values`; where a row with the same `keys` exists, make `changes` to it instead."""
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(table).values(**values).on_conflict_do_update(index_elements=list(keys), set_=dict(changes))
