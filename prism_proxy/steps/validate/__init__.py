"""Declares a namespace's schema and holds what is written against it. Imported where a namespace has `schema`."""
