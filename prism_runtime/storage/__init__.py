"""Databases of our processes: SQLite files and PostgreSQL, the same way for each; a process brings its own tables."""
