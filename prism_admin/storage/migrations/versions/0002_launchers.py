"""Launchers, as the first generation of the contract knew them."""

import sqlalchemy as sa
from alembic import op

from prism_admin.storage.migrations.columns import big_id, json, record, stamped, time, unrecord

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "launchers", big_id(), sa.Column("launcher_id", sa.Text, nullable=False, unique=True),
        sa.Column("address", sa.Text, nullable=False), sa.Column("region", sa.Text), sa.Column("version", sa.Text),
        sa.Column("status", sa.Text,
                  sa.CheckConstraint("status IN ('healthy', 'unhealthy', 'unknown')", name="launchers_status"),
                  nullable=False, server_default="unknown"),
        sa.Column("max_patterns", sa.Integer, nullable=False, server_default="10"),
        time("last_seen"), *stamped(), sa.Column("metadata", json()))
    op.create_index("launchers_status_last_seen", "launchers", ["status", "last_seen"])
    op.create_index("launchers_region", "launchers", ["region"])
    record(2, "launchers")


def downgrade() -> None:
    unrecord(2)
    op.drop_table("launchers")
