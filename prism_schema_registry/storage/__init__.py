"""Where what is registered stays: SQLite or PostgreSQL, or nowhere, for tests."""
