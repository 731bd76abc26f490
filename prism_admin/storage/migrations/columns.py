"""Column forms the migrations share, and the record each leaves in `schema_version`."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB


def big_id() -> sa.Column[Any]:
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)


def json() -> Any:
    return sa.JSON().with_variant(JSONB(), "postgresql")


def now() -> Any:
    return sa.text("CURRENT_TIMESTAMP")


def time(name: str, *, default: Any = None, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def stamped() -> tuple[sa.Column[Any], sa.Column[Any]]:
    return time("created_at", default=now()), time("updated_at", default=now())


def record(version: int, description: str) -> None:
    op.execute(sa.text("INSERT INTO schema_version (version, description) VALUES (:version, :description)")
               .bindparams(version=version, description=description))


def unrecord(version: int) -> None:
    op.execute(sa.text("DELETE FROM schema_version WHERE version = :version").bindparams(version=version))
