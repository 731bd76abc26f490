"""The tables, as the latest migration leaves them. All names begin with `registry_`, so that one PostgreSQL database
can be the admin's too. Migrations have their own copy of what they make; a test compares the two.

`registry_consumers` and the columns of `registry_versions.details` are fixed before anything writes all of them: who
consumes a schema is known once callers have an identity.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from prism_runtime.storage.engine import Layout

LATEST = 2  # of migrations/versions
metadata = MetaData()
Json = JSON().with_variant(JSONB(), "postgresql")

schemas = Table(
    "registry_schemas", metadata,
    Column("context", Text, primary_key=True),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("refers_to", Json, nullable=False),
    Column("extras", Json, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Index("registry_schemas_fingerprint", "context", "fingerprint"),
)

versions = Table(
    "registry_versions", metadata,
    Column("context", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("schema_id", Integer, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("details", Json, nullable=False),
    Index("registry_versions_schema_id", "context", "schema_id"),
)

settings = Table(  # of a subject, of a context (subject ''), of everything (context '' too)
    "registry_settings", metadata,
    Column("context", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("level", Text),
    Column("normalize", Boolean),
    Column("mode", Text),
    Column("pii_validation", Text),
)

counters = Table(  # `id`: the largest that was ever given
    "registry_counters", metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

consumers = Table(
    "registry_consumers", metadata,
    Column("context", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("consumer", Text, primary_key=True),
    Column("team", Text),
    Column("purpose", Text),
    Column("version", Integer, nullable=False),
    Column("allowed_fields", Json),
    Column("approval", Text),
    Column("last_seen", DateTime(timezone=True)),
)

lease = Table(  # one row
    "registry_lease", metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("expires_at", DateTime(timezone=True)),
)

schema_version = Table(
    "registry_schema_version", metadata,
    Column("version", Integer, primary_key=True),
    Column("applied_at", DateTime(timezone=True), server_default=text("CURRENT_TIMESTAMP")),
    Column("description", Text),
)


def _fill(connection: Connection) -> None:
    connection.execute(counters.insert().values(name="id", value=0))
    connection.execute(lease.insert().values(id=1, owner="", epoch=0))


LAYOUT = Layout(metadata, LATEST, "prism_schema_registry.storage:migrations", _fill, "registry_schema_version",
                "registry_alembic_version")
