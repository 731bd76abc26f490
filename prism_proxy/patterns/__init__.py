"""Patterns: they compose data models over the slots of a namespace."""
