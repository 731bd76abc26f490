"""The tables, as the latest migration leaves them: a new database is made from here, which needs no Alembic. Migrations
have their own copy of what they make; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()
NOW = text("CURRENT_TIMESTAMP")
Json = JSON().with_variant(JSONB(), "postgresql")
Id = BigInteger().with_variant(Integer, "sqlite")


class UtcTime(TypeDecorator[datetime]):
    """Times are UTC and say so, also where the database keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        found: datetime = value
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _stamped() -> tuple[Column[Any], Column[Any]]:
    return (Column("created_at", UtcTime, server_default=NOW), Column("updated_at", UtcTime, server_default=NOW))


def _status(table: str, *allowed: str, default: str) -> Column[Any]:
    listed = ", ".join(f"'{status}'" for status in allowed)
    return Column("status", Text, CheckConstraint(f"status IN ({listed})", name=f"{table}_status"), nullable=False,
                  server_default=default)


namespaces = Table(
    "namespaces", metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("description", Text),
    *_stamped(),
    Column("metadata", Json),
    Column("partition_id", Integer, nullable=False, server_default="0"),
    Column("assigned_proxy", Text),
    Column("config", Json, nullable=False, server_default=text("'{}'")),
    Column("config_version", BigInteger, nullable=False, server_default="1"),
    Column("created_by", Text),
    Index("namespaces_partition_id", "partition_id"),
)

namespace_versions = Table(  # outlives a namespace, so that versions never restart
    "namespace_versions", metadata,
    Column("name", Text, primary_key=True),
    Column("last_version", BigInteger, nullable=False),
)

proxies = Table(
    "proxies", metadata,
    Column("id", Id, primary_key=True),
    Column("proxy_id", Text, nullable=False, unique=True),
    Column("address", Text, nullable=False),
    Column("region", Text),
    Column("version", Text),
    _status("proxies", "healthy", "unhealthy", "left", "unknown", default="unknown"),
    Column("capabilities", Json),
    Column("last_seen", UtcTime),
    *_stamped(),
    Column("metadata", Json),
    Column("backends", Json),
    Column("file_areas", Json),
    Index("proxies_status_last_seen", "status", "last_seen"),
)

partitions = Table(
    "partitions", metadata,
    Column("partition_id", Integer, primary_key=True, autoincrement=False),
    Column("proxy_id", Text),
)

partition_map = Table(  # one row
    "partition_map", metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
)

admin_lease = Table(  # one row
    "admin_lease", metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("expires_at", UtcTime),
)

launchers = Table(
    "launchers", metadata,
    Column("id", Id, primary_key=True),
    Column("launcher_id", Text, nullable=False, unique=True),
    Column("address", Text, nullable=False),
    Column("region", Text),
    Column("version", Text),
    _status("launchers", "healthy", "unhealthy", "unknown", default="unknown"),
    Column("max_processes", Integer, nullable=False, server_default="10"),
    Column("available_slots", Integer, nullable=False, server_default="0"),
    Column("capabilities", Json),
    Column("last_seen", UtcTime),
    *_stamped(),
    Column("metadata", Json),
    Index("launchers_status_last_seen", "status", "last_seen"),
    Index("launchers_region", "region"),
)

patterns = Table(
    "patterns", metadata,
    Column("id", Id, primary_key=True),
    Column("pattern_id", Text, nullable=False),
    Column("pattern_type", Text, nullable=False),
    Column("proxy_id", Text, ForeignKey("proxies.proxy_id", ondelete="CASCADE")),
    Column("launcher_id", Text, ForeignKey("launchers.launcher_id", ondelete="SET NULL")),
    Column("namespace", Text, ForeignKey("namespaces.name", ondelete="CASCADE"), nullable=False),
    _status("patterns", "active", "stopped", "error", "provisioning", default="active"),
    Column("config", Json),
    *_stamped(),
    *(Index(f"patterns_{column}", column) for column in ("namespace", "proxy_id", "pattern_id", "launcher_id")),
)

audit_logs = Table(
    "audit_logs", metadata,
    Column("id", Id, primary_key=True),
    Column("timestamp", UtcTime, nullable=False, server_default=NOW),
    Column("user", Text),
    Column("actor_groups", Json),
    Column("action", Text, nullable=False),
    Column("resource_type", Text, nullable=False),
    Column("resource_id", Text),
    Column("namespace", Text),
    Column("method", Text),
    Column("path", Text),
    Column("status_code", Integer),
    Column("request_body", Json),
    Column("response_body", Json),
    Column("error", Text),
    Column("duration_ms", Integer),
    Column("client_ip", Text),
    Column("user_agent", Text),
    Column("request_id", Text),
    Column("trace_id", Text),
    Column("chain_hash", Text),
    Column("signature", Text),
    *(Index(f"audit_logs_{'_'.join(columns)}", *columns) for columns in (
        ("timestamp",), ("namespace",), ("resource_type", "resource_id"), ("action",), ("user",))),
)

schema_version = Table(
    "schema_version", metadata,
    Column("version", Integer, primary_key=True),
    Column("applied_at", UtcTime, server_default=NOW),
    Column("description", Text),
)
