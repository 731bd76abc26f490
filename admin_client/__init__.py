"""Typed async client of the control plane. Imports no proxy code."""
