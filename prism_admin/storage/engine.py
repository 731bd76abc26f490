"""The admin's database: its tables, and what brings an older database to them."""

from __future__ import annotations

from sqlalchemy import Connection

from prism_admin.storage import tables
from prism_runtime.storage.engine import Layout

LATEST = 5  # of migrations/versions


def _fill(connection: Connection) -> None:
    connection.execute(tables.partition_map.insert().values(id=1, revision=0))
    connection.execute(tables.admin_lease.insert().values(id=1, owner="", epoch=0))


LAYOUT = Layout(tables.metadata, LATEST, "prism_admin.storage:migrations", _fill)
