"""What Alembic runs for each migration command; the connection comes from `prism_admin.storage.engine`."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
