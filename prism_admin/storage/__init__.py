"""What the control plane remembers: one database, SQLite or PostgreSQL, with the same tables and the same behaviour."""
