"""The schema registry: subjects, versions and ids, as stock registry clients know them, and `prism.schema.v1`."""
