"""What proxies say of their backends and of their end, and the lease by which one admin at a time writes."""

import sqlalchemy as sa
from alembic import op

from prism_admin.storage.migrations.columns import json, record, time, unrecord

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("proxies") as table:
        table.add_column(sa.Column("backends", json()))
        table.drop_constraint("proxies_status", type_="check")
        table.create_check_constraint("proxies_status", "status IN ('healthy', 'unhealthy', 'left', 'unknown')")
    op.create_table(
        "admin_lease", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("owner", sa.Text, nullable=False), sa.Column("epoch", sa.BigInteger, nullable=False),
        time("expires_at"))
    op.execute("INSERT INTO admin_lease (id, owner, epoch) VALUES (1, '', 0)")
    record(4, "backends of proxies, and the admins' lease")


def downgrade() -> None:
    unrecord(4)
    op.drop_table("admin_lease")
    op.execute("UPDATE proxies SET status = 'unhealthy' WHERE status = 'left'")
    with op.batch_alter_table("proxies") as table:
        table.drop_constraint("proxies_status", type_="check")
        table.create_check_constraint("proxies_status", "status IN ('healthy', 'unhealthy', 'unknown')")
        table.drop_column("backends")
