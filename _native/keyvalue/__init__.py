"""The KeyValue operations without Python objects, one module a store."""
