"""Whether a subject demands tags on personal data."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("registry_settings") as table:
        table.add_column(sa.Column("pii_validation", sa.Text))
    op.execute("INSERT INTO registry_schema_version (version, description) VALUES (2, 'tags demanded by subject')")


def downgrade() -> None:
    op.execute("DELETE FROM registry_schema_version WHERE version = 2")
    with op.batch_alter_table("registry_settings") as table:
        table.drop_column("pii_validation")
