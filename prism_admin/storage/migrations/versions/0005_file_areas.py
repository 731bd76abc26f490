"""Where the namespaces of proxies' own files have their names."""

import sqlalchemy as sa
from alembic import op

from prism_admin.storage.migrations.columns import json, record, unrecord

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    with op.batch_alter_table("proxies") as table:
        table.add_column(sa.Column("file_areas", json()))
    record(5, "names that namespaces of proxies' files have")


def downgrade() -> None:
    unrecord(5)
    with op.batch_alter_table("proxies") as table:
        table.drop_column("file_areas")
