"""Namespaces, proxies, patterns, the audit log, and the version of the schema itself."""

import sqlalchemy as sa
from alembic import op

from prism_admin.storage.migrations.columns import big_id, json, now, record, stamped, time, unrecord

revision = "0001"
down_revision = None
DESCRIPTION = "namespaces, proxies, patterns, audit_logs"


def upgrade() -> None:
    op.create_table(
        "schema_version", sa.Column("version", sa.Integer, primary_key=True), time("applied_at", default=now()),
        sa.Column("description", sa.Text))
    op.create_table(
        "namespaces", big_id(), sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("description", sa.Text), *stamped(), sa.Column("metadata", json()))
    op.create_table(
        "proxies", big_id(), sa.Column("proxy_id", sa.Text, nullable=False, unique=True),
        sa.Column("address", sa.Text, nullable=False), sa.Column("version", sa.Text),
        sa.Column("status", sa.Text,
                  sa.CheckConstraint("status IN ('healthy', 'unhealthy', 'unknown')", name="proxies_status"),
                  nullable=False, server_default="unknown"),
        time("last_seen"), *stamped(), sa.Column("metadata", json()))
    op.create_index("proxies_status_last_seen", "proxies", ["status", "last_seen"])
    op.create_table(
        "patterns", big_id(), sa.Column("pattern_id", sa.Text, nullable=False),
        sa.Column("pattern_type", sa.Text, nullable=False),
        sa.Column("proxy_id", sa.Text, sa.ForeignKey("proxies.proxy_id", ondelete="CASCADE"), nullable=False),
        sa.Column("namespace", sa.Text, sa.ForeignKey("namespaces.name", ondelete="CASCADE"), nullable=False),
        sa.Column("status", sa.Text,
                  sa.CheckConstraint("status IN ('active', 'stopped', 'error')", name="patterns_status"),
                  nullable=False, server_default="active"),
        sa.Column("config", json()), *stamped())
    for column in ("namespace", "proxy_id", "pattern_id"):
        op.create_index(f"patterns_{column}", "patterns", [column])
    op.create_table(
        "audit_logs", big_id(), time("timestamp", default=now(), nullable=False), sa.Column("user", sa.Text),
        sa.Column("action", sa.Text, nullable=False), sa.Column("resource_type", sa.Text, nullable=False),
        *(sa.Column(name, sa.Text) for name in ("resource_id", "namespace", "method", "path")),
        sa.Column("status_code", sa.Integer), sa.Column("request_body", json()), sa.Column("response_body", json()),
        sa.Column("error", sa.Text), sa.Column("duration_ms", sa.Integer), sa.Column("client_ip", sa.Text),
        sa.Column("user_agent", sa.Text))
    for columns in (["timestamp"], ["namespace"], ["resource_type", "resource_id"], ["action"], ["user"]):
        op.create_index(f"audit_logs_{'_'.join(columns)}", "audit_logs", columns)
    record(1, DESCRIPTION)


def downgrade() -> None:
    unrecord(1)
    for table in ("audit_logs", "patterns", "proxies", "namespaces", "schema_version"):
        op.drop_table(table)
