"""JSON Schema, drafts 7 and 2020-12."""
