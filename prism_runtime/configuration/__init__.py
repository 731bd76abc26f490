"""Strict configuration: a document, bound to settings classes, with every mistake at once."""
