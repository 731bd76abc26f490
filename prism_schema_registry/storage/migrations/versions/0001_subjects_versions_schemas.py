"""Schemas, versions of subjects, settings, and the lease by which one registry at a time writes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None


def upgrade() -> None:
    json = sa.JSON().with_variant(JSONB(), "postgresql")
    op.create_table(
        "registry_schemas", _key("context"), _number("id", primary_key=True), _text("kind"), _text("content"),
        sa.Column("refers_to", json, nullable=False), sa.Column("extras", json, nullable=False), _text("fingerprint"))
    op.create_index("registry_schemas_fingerprint", "registry_schemas", ["context", "fingerprint"])
    op.create_table(
        "registry_versions", _key("context"), _key("subject"), _number("version", primary_key=True),
        _number("schema_id"), sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False), sa.Column("details", json, nullable=False))
    op.create_index("registry_versions_schema_id", "registry_versions", ["context", "schema_id"])
    op.create_table(
        "registry_settings", _key("context"), _key("subject"), sa.Column("level", sa.Text),
        sa.Column("normalize", sa.Boolean), sa.Column("mode", sa.Text))
    op.create_table("registry_counters", _key("name"), sa.Column("value", sa.BigInteger, nullable=False))
    op.create_table(
        "registry_consumers", _key("context"), _key("subject"), _key("consumer"), sa.Column("team", sa.Text),
        sa.Column("purpose", sa.Text), _number("version"), sa.Column("allowed_fields", json),
        sa.Column("approval", sa.Text), _time("last_seen"))
    op.create_table(
        "registry_lease", _number("id", primary_key=True), _text("owner"),
        sa.Column("epoch", sa.BigInteger, nullable=False), _time("expires_at"))
    op.create_table(
        "registry_schema_version", sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("applied_at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.Column("description", sa.Text))
    op.execute("INSERT INTO registry_counters (name, value) VALUES ('id', 0)")
    op.execute("INSERT INTO registry_lease (id, owner, epoch) VALUES (1, '', 0)")
    op.execute("INSERT INTO registry_schema_version (version, description) VALUES (1, 'subjects, versions, schemas')")


def downgrade() -> None:
    for name in ("schema_version", "lease", "consumers", "counters", "settings", "versions", "schemas"):
        op.drop_table(f"registry_{name}")


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=True)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _number(name: str, *, primary_key: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, primary_key=primary_key, autoincrement=False, nullable=False)


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True))
