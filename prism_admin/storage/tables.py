"""The tables, as the latest migration leaves them. Migrations have their own copy of what they make."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()
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


namespaces = Table(
    "namespaces", metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("description", Text),
    Column("created_at", UtcTime),
    Column("updated_at", UtcTime),
    Column("metadata", Json),
    Column("partition_id", Integer, nullable=False),
    Column("assigned_proxy", Text),
    Column("config", Json, nullable=False),
    Column("config_version", BigInteger, nullable=False),
    Column("created_by", Text),
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
    Column("status", Text, nullable=False),
    Column("capabilities", Json),
    Column("last_seen", UtcTime),
    Column("created_at", UtcTime),
    Column("updated_at", UtcTime),
    Column("metadata", Json),
)

partitions = Table(
    "partitions", metadata,
    Column("partition_id", Integer, primary_key=True),
    Column("proxy_id", Text),
)

partition_map = Table(  # one row
    "partition_map", metadata,
    Column("id", Integer, primary_key=True),
    Column("revision", BigInteger, nullable=False),
)

launchers = Table(
    "launchers", metadata,
    Column("id", Id, primary_key=True),
    Column("launcher_id", Text, nullable=False, unique=True),
    Column("address", Text, nullable=False),
    Column("region", Text),
    Column("version", Text),
    Column("status", Text, nullable=False),
    Column("max_processes", Integer, nullable=False),
    Column("available_slots", Integer, nullable=False),
    Column("capabilities", Json),
    Column("last_seen", UtcTime),
    Column("created_at", UtcTime),
    Column("updated_at", UtcTime),
    Column("metadata", Json),
)

patterns = Table(
    "patterns", metadata,
    Column("id", Id, primary_key=True),
    Column("pattern_id", Text, nullable=False),
    Column("pattern_type", Text, nullable=False),
    Column("proxy_id", Text, ForeignKey("proxies.proxy_id", ondelete="CASCADE")),
    Column("launcher_id", Text, ForeignKey("launchers.launcher_id", ondelete="SET NULL")),
    Column("namespace", Text, ForeignKey("namespaces.name", ondelete="CASCADE"), nullable=False),
    Column("status", Text, nullable=False),
    Column("config", Json),
    Column("created_at", UtcTime),
    Column("updated_at", UtcTime),
)

audit_logs = Table(
    "audit_logs", metadata,
    Column("id", Id, primary_key=True),
    Column("timestamp", UtcTime, nullable=False),
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
)

schema_version = Table(
    "schema_version", metadata,
    Column("version", Integer, primary_key=True),
    Column("applied_at", UtcTime),
    Column("description", Text),
)
