"""An embedded, durable store in one SQLite file: local to this machine, and to one process at a time."""
