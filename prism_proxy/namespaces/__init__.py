"""Namespaces: their configuration, the immutable routing snapshot, and its whole swap."""
