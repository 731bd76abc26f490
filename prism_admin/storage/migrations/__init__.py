"""The history of the schema, oldest first; `engine.migrate` applies it."""
