"""Semantics composed over slots. Patterns name interfaces, never products."""
