"""Where namespaces are placed: their configuration and owner, the partition map, what registrations carry."""

import sqlalchemy as sa
from alembic import op

from prism_admin.storage.migrations.columns import big_id, json, record, stamped, unrecord

revision = "0003"
down_revision = "0002"
PATTERN_STATUSES = "status IN ('active', 'stopped', 'error', 'provisioning')"


def upgrade() -> None:
    with op.batch_alter_table("namespaces") as table:
        table.add_column(sa.Column("partition_id", sa.Integer, nullable=False, server_default="0"))
        table.add_column(sa.Column("assigned_proxy", sa.Text))
        table.add_column(sa.Column("config", json(), nullable=False, server_default=sa.text("'{}'")))
        table.add_column(sa.Column("config_version", sa.BigInteger, nullable=False, server_default="1"))
        table.add_column(sa.Column("created_by", sa.Text))
    op.create_index("namespaces_partition_id", "namespaces", ["partition_id"])
    op.create_table(
        "namespace_versions", sa.Column("name", sa.Text, primary_key=True),
        sa.Column("last_version", sa.BigInteger, nullable=False))
    with op.batch_alter_table("proxies") as table:
        table.add_column(sa.Column("region", sa.Text))
        table.add_column(sa.Column("capabilities", json()))
    with op.batch_alter_table("launchers") as table:
        table.alter_column("max_patterns", new_column_name="max_processes")
        table.add_column(sa.Column("available_slots", sa.Integer, nullable=False, server_default="0"))
        table.add_column(sa.Column("capabilities", json()))
    op.drop_table("patterns")  # nothing wrote it before this version; it cannot be altered in place on both databases
    _patterns(launchers=True)
    with op.batch_alter_table("audit_logs") as table:
        table.add_column(sa.Column("actor_groups", json()))
        for name in ("request_id", "trace_id", "chain_hash", "signature"):
            table.add_column(sa.Column(name, sa.Text))
    op.create_table(
        "partitions", sa.Column("partition_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("proxy_id", sa.Text))
    op.create_table(
        "partition_map", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.BigInteger, nullable=False))
    op.execute("INSERT INTO partition_map (id, revision) VALUES (1, 0)")
    record(3, "partitions and placement")


def downgrade() -> None:
    unrecord(3)
    for made in ("partition_map", "partitions", "namespace_versions", "patterns"):
        op.drop_table(made)
    _patterns(launchers=False)
    with op.batch_alter_table("audit_logs") as table:
        for name in ("actor_groups", "request_id", "trace_id", "chain_hash", "signature"):
            table.drop_column(name)
    with op.batch_alter_table("launchers") as table:
        table.drop_column("capabilities")
        table.drop_column("available_slots")
        table.alter_column("max_processes", new_column_name="max_patterns")
    with op.batch_alter_table("proxies") as table:
        table.drop_column("capabilities")
        table.drop_column("region")
    op.drop_index("namespaces_partition_id", "namespaces")
    with op.batch_alter_table("namespaces") as table:
        for name in ("partition_id", "assigned_proxy", "config", "config_version", "created_by"):
            table.drop_column(name)


def _patterns(*, launchers: bool) -> None:
    launcher = [sa.Column("launcher_id", sa.Text, sa.ForeignKey("launchers.launcher_id", ondelete="SET NULL"))]
    statuses = PATTERN_STATUSES if launchers else "status IN ('active', 'stopped', 'error')"
    op.create_table(
        "patterns", big_id(), sa.Column("pattern_id", sa.Text, nullable=False),
        sa.Column("pattern_type", sa.Text, nullable=False),
        sa.Column("proxy_id", sa.Text, sa.ForeignKey("proxies.proxy_id", ondelete="CASCADE"), nullable=launchers),
        *(launcher if launchers else []),
        sa.Column("namespace", sa.Text, sa.ForeignKey("namespaces.name", ondelete="CASCADE"), nullable=False),
        sa.Column("status", sa.Text, sa.CheckConstraint(statuses, name="patterns_status"), nullable=False,
                  server_default="active"),
        sa.Column("config", json()), *stamped())
    for column in ("namespace", "proxy_id", "pattern_id", *(["launcher_id"] if launchers else [])):
        op.create_index(f"patterns_{column}", "patterns", [column])
