"""What Alembic runs for each migration command; the connection comes from `prism_runtime.storage.engine`."""

from alembic import context

given = context.config.attributes
context.configure(
    connection=given["connection"], version_table=given["version_table"], transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
