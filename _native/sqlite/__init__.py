"""Checksums of rows."""
